package domain

import (
	"strings"
	"unicode/utf8"
)

// The longest texts that a person or a client may give, in characters.
const (
	MaxName        = 100
	MaxDescription = 1000
	// MaxReference is for ids and words of the client's own, such as a run's.
	MaxReference = 255
	// MaxArgument is the most bytes of one argument, or of one "name=value": Linux's MAX_ARG_STRLEN less its closing NUL.
	MaxArgument = 128<<10 - 1
	// MaxMessage is for what a driver or a caller says about a failure.
	MaxMessage = 2000
)

// CheckName refuses what cannot be the name of a thing: it has 1 to [MaxName] characters on one line.
func CheckName(field, s string) error {
	if strings.TrimSpace(s) == "" {
		return Refuse(KindInvalid, "missing_field", "is missing").On(field).Mend("give a name of 1 to %d characters", MaxName)
	}
	return CheckLine(field, s, MaxName)
}

// CheckLine refuses text that is longer than limit characters, no valid UTF-8, or holds a control character. Empty text passes.
func CheckLine(field, s string, limit int) error {
	return checkText(field, s, limit, isControl)
}

// CheckText is [CheckLine] for text of several lines: line breaks and tabs pass.
func CheckText(field, s string, limit int) error {
	return checkText(field, s, limit, func(r rune) bool {
		return isControl(r) && r != '\n' && r != '\t' && r != '\r'
	})
}

func checkText(field, s string, limit int, refused func(rune) bool) error {
	if !utf8.ValidString(s) {
		return notUTF8(field)
	}
	for _, r := range s {
		if refused(r) {
			return Refuse(KindInvalid, "invalid_text", "holds the control character U+%04X", r).On(field).Mend("remove it")
		}
	}
	if n := utf8.RuneCountInString(s); n > limit {
		return Refuse(KindInvalid, "text_too_long", "has %d characters; the limit is %d", n, limit).On(field).Mend("shorten it")
	}
	return nil
}

// CheckArgument refuses text that no process can be given exactly as it stands: with a NUL byte, longer than [MaxArgument],
// or no valid UTF-8, which the log could not hold unchanged.
func CheckArgument(field, s string) error {
	if len(s) > MaxArgument {
		return Refuse(KindInvalid, "argument_too_long", "has %d bytes; no process can be given more than %d in one piece", len(s), MaxArgument).
			On(field).Mend("send it by stdin or in a file")
	}
	if strings.Contains(s, "\x00") {
		return Refuse(KindInvalid, "invalid_text", "holds a NUL byte, which no process can be given").On(field).
			Mend("remove it, or send the bytes by stdin")
	}
	if !utf8.ValidString(s) {
		return notUTF8(field)
	}
	return nil
}

func notUTF8(field string) error {
	return Refuse(KindInvalid, "invalid_text", "is not valid UTF-8").On(field).Mend("send text in UTF-8")
}

// isControl reports the control characters of C0 and C1.
func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }

// Clean makes any text fit to be recorded. It is for what drivers say: their word on a failure must never be the reason
// that the failure cannot be recorded. NUL and broken UTF-8 become U+FFFD, and what is over limit characters is cut off.
func Clean(s string, limit int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit-1]) + "…"
}

// CleanWord is [Clean] for a word such as a code, of at most [MaxName] characters.
func CleanWord(s string) string { return Clean(s, MaxName) }
