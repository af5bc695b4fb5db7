package sdk

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// However text is cut, the pieces are whole characters and together they are the text.
func FuzzTextIsToldInWholeCharacters(f *testing.F) {
	f.Add([]byte("a\u2028\u20ac\U0001f600z"), 2)
	f.Add([]byte("\xe2\x82"), 1)
	f.Add([]byte("\xff\xfe\x80\x80\x80\xf0\x9f"), 3)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		size = min(max(size, 1), 100)
		c := &collector{name: "stdout"}
		var told strings.Builder
		for rest := data; len(rest) > 0; {
			n := min(size, len(rest))
			chunk := c.add(rest[:n])
			if utf8.Valid(data) {
				require.True(t, utf8.ValidString(chunk), "%q", chunk)
			}
			require.Less(t, len(c.torn), utf8.UTFMax)
			told.WriteString(chunk)
			rest = rest[n:]
		}
		told.WriteString(c.rest())
		require.Equal(t, string(data), told.String())
		require.Equal(t, string(data), string(c.kept))
	})
}
