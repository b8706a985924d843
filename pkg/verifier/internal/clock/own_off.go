//go:build !tocsin_defects

package clock

func ownTime() Reading { return Reading{} }
