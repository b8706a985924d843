package auth

import (
	_ "embed"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxPasswordBytes is far above the 128 code points that must be accepted; nothing is ever cut off.
const maxPasswordBytes = 4096

//go:embed common.txt
var commonText string

// commonWords are the words that common passwords are made of, folded as by fold.
var commonWords = sync.OnceValue(func() map[string]struct{} {
	words := make(map[string]struct{})
	for word := range strings.FieldsSeq(commonText) {
		words[word] = struct{}{}
	}
	return words
})

// checkPassword applies the policy to a new password: length in code points, no composition rules, and not a password
// that guessers try first (SP 800-63B).
func checkPassword(field, password, username string, least int) error {
	if !utf8.ValidString(password) || strings.ContainsRune(password, 0) {
		return invalid(field, "must be valid UTF-8 without NUL")
	}
	if len(password) > maxPasswordBytes {
		return invalid(field, "is too long")
	}
	if utf8.RuneCountInString(norm.NFC.String(password)) < least {
		return weak(field, "is too short")
	}
	if guessable(password, username) {
		return weak(field, "is one of the passwords that are tried first")
	}
	return nil
}

func weak(field, rule string) *Error {
	return &Error{Code: CodeWeakPassword, Field: field, Message: "the password " + rule}
}

// guessable reports whether a password is a common word, a sequence or the username, alone, repeated, or with padding
// that guessers try.
func guessable(password, username string) bool {
	whole := strings.ToLower(password)
	if tried(whole) || tried(fold(whole)) || fewCharacters(whole) {
		return true
	}
	if stem, rest := split(whole); thin(rest) && (tried(stem) || tried(fold(stem))) {
		return true
	}
	name := strings.ToLower(username)
	return name != "" && strings.Contains(whole, name) && thin(strings.ReplaceAll(whole, name, ""))
}

// tried reports whether s, or the part that it repeats, is a common word or a sequence.
func tried(s string) bool { return s != "" && (common(s) || common(unit(s)) || sequence(s)) }

// split takes what isn't a letter off both ends.
func split(s string) (stem, rest string) {
	notLetter := func(r rune) bool { return !unicode.IsLetter(r) }
	right := strings.TrimLeftFunc(s, notLetter)
	stem = strings.TrimRightFunc(right, notLetter)
	return stem, s[:len(s)-len(right)] + right[len(stem):]
}

// thin reports whether padding adds little: no letters, and as long as a date or in sequence.
func thin(padding string) bool {
	const date = 8
	return strings.IndexFunc(padding, unicode.IsLetter) < 0 && (len(padding) <= date || tried(padding))
}

func common(s string) bool {
	_, found := commonWords()[s]
	return found
}

// fold undoes the substitutions that everyone makes: case, digits for letters, and word separators.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '0':
			return 'o'
		case '1', '!', '|':
			return 'i'
		case '3':
			return 'e'
		case '4', '@':
			return 'a'
		case '5', '$':
			return 's'
		case '7':
			return 't'
		case ' ', '-', '_', '.':
			return -1
		}
		return unicode.ToLower(r)
	}, s)
}

// unit returns the shortest part that gives s when repeated.
func unit(s string) string {
	for n := 1; n <= len(s)/2; n++ {
		if len(s)%n == 0 && strings.Repeat(s[:n], len(s)/n) == s {
			return s[:n]
		}
	}
	return s
}

// fewCharacters reports whether a text uses at most two different characters.
func fewCharacters(s string) bool {
	seen := make(map[rune]struct{})
	for _, r := range s {
		seen[r] = struct{}{}
	}
	return len(seen) <= 2
}

// rows are what fingers and alphabets run along.
var rows = []string{
	"abcdefghijklmnopqrstuvwxyz", "0123456789", "1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm",
	"qwertyuiopasdfghjklzxcvbnm", "azertyuiop", "qwertzuiop", "1q2w3e4r5t6y7u8i9o0p", "qazwsxedcrfvtgbyhnujmikolp",
	"1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
}

// sequence reports whether s, or the part that it repeats, is one run along a row in either direction, or around it.
func sequence(s string) bool {
	s = unit(s)
	for _, row := range rows {
		around := strings.Repeat(row, 2+len(s)/len(row))
		if strings.Contains(around, s) || strings.Contains(around, reversed(s)) {
			return true
		}
	}
	return false
}

func reversed(s string) string {
	r := []rune(s)
	for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
		r[i], r[j] = r[j], r[i]
	}
	return string(r)
}
