//go:build tocsin_defects

package verifiermodel

import "github.com/tocsin-auth/tocsin/pkg/verifier/internal/defect"

// Defects are the defences of the verifier that can be taken away, by name; true takes one away.
var Defects = map[string]*bool{
	"contiguity": &defect.Contiguity,
	"chain":      &defect.Chain,
	"signature":  &defect.Signature,
	"catch-up":   &defect.CatchUp,
	"fill limit": &defect.FillLimit,
	"generation": &defect.Generation,
}
