#include "textflag.h"

// BLOCK puts into Y0 and Y4 whatever differs in 128 bytes at SI and at SI+DI.
#define BLOCK \
	VMOVDQU (SI), Y1           \
	VMOVDQU 32(SI), Y2         \
	VMOVDQU 64(SI), Y3         \
	VMOVDQU 96(SI), Y5         \
	VPXOR   (SI)(DI*1), Y1, Y1 \
	VPXOR   32(SI)(DI*1), Y2, Y2 \
	VPXOR   64(SI)(DI*1), Y3, Y3 \
	VPXOR   96(SI)(DI*1), Y5, Y5 \
	VPOR    Y1, Y0, Y0         \
	VPOR    Y2, Y4, Y4         \
	VPOR    Y3, Y0, Y0         \
	VPOR    Y5, Y4, Y4

// func equalBlocks(a, b *byte, n int) bool
TEXT ·equalBlocks(SB), NOSPLIT, $0-25
	MOVQ  a+0(FP), SI
	MOVQ  b+8(FP), DI
	MOVQ  n+16(FP), CX
	LEAQ  -128(SI)(CX*1), R8 // the last block, which may overlap with the one before
	SUBQ  SI, DI
	VPXOR Y0, Y0, Y0
	VPXOR Y4, Y4, Y4
	CMPQ  SI, R8
	JAE   last

next:
	BLOCK
	ADDQ $128, SI
	CMPQ SI, R8
	JB   next

last:
	MOVQ  R8, SI
	BLOCK
	VPOR  Y4, Y0, Y0
	VPTEST Y0, Y0
	SETEQ ret+24(FP)
	VZEROUPPER
	RET
