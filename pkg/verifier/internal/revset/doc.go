// Package revset is the concurrent revocation set.
package revset
