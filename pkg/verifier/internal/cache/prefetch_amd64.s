#include "textflag.h"

// func prefetch(line unsafe.Pointer, text string)
TEXT ·prefetch(SB), NOSPLIT, $0-24
	MOVQ       line+0(FP), DX
	PREFETCHT0 (DX)
	MOVQ       text_base+8(FP), AX
	MOVQ       text_len+16(FP), CX
	ADDQ       AX, CX
	ANDQ       $~63, AX

next: // two cache lines; one too many does no harm
	PREFETCHT0 (AX)
	PREFETCHT0 64(AX)
	ADDQ       $128, AX
	CMPQ       AX, CX
	JB         next
	RET
