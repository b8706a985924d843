#include "textflag.h"

// func prefetch(line unsafe.Pointer, text string)
TEXT ·prefetch(SB), NOSPLIT, $0-24
	MOVD line+0(FP), R2
	PRFM (R2), PLDL1KEEP
	MOVD text_base+8(FP), R0
	MOVD text_len+16(FP), R1
	ADD  R0, R1
	AND  $~63, R0

next:
	PRFM (R0), PLDL1KEEP
	ADD  $64, R0
	CMP  R1, R0
	BLO  next
	RET
