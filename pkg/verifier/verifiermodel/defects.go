//go:build tocsin_defects

package verifiermodel

import (
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/defect"
)

// OffsetIn returns a function that reads from a file by how much a clock is wrong.
func OffsetIn(path string) func() time.Duration { return clock.OffsetIn(path) }

// Defects are the defences of the verifier that can be taken away, by name; true takes one away.
var Defects = map[string]*bool{
	"contiguity": &defect.Contiguity,
	"chain":      &defect.Chain,
	"signature":  &defect.Signature,
	"catch-up":   &defect.CatchUp,
	"fill limit": &defect.FillLimit,
	"generation": &defect.Generation,
}
