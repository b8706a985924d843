package main

import (
	"encoding/json"
	"strconv"
	"strings"
)

// price is an amount in hundredths: money is never a float. In JSON it is a plain number with at most two decimals.
type price int64

const maxPrice = 100_000_000_000 // a thousand million

// MarshalJSON implements json.Marshaler.
func (p price) MarshalJSON() ([]byte, error) {
	s := strconv.FormatInt(int64(p)/100, 10)
	if cents := int64(p) % 100; cents != 0 {
		s += "." + strconv.FormatInt(100+cents, 10)[1:]
	}
	return []byte(s), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *price) UnmarshalJSON(b []byte) error {
	var n json.Number
	if b[0] == '"' || json.Unmarshal(b, &n) != nil {
		return invalid("price", "must be a number")
	}
	whole, cents, _ := strings.Cut(n.String(), ".")
	if cents = strings.TrimRight(cents, "0"); len(cents) > 2 {
		return invalid("price", "has more than two decimals")
	}
	v, err := strconv.ParseInt(whole+(cents + "00")[:2], 10, 64)
	if err != nil || v < 0 || v > maxPrice || strings.HasPrefix(whole, "-") {
		return invalid("price", "must be from 0 to 1000000000, without exponent")
	}
	*p = price(v)
	return nil
}
