package archtest_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var testName = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]*)`")

// A promise whose test is gone is no promise.
func TestEveryTestThatAPromiseNamesExists(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "..")
	raw, err := os.ReadFile(filepath.Join(root, "docs", "guarantees.md"))
	require.NoError(t, err)
	named := testName.FindAllStringSubmatch(string(raw), -1)
	require.NotEmpty(t, named)
	var tests strings.Builder
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		tests.Write(source)
		return err
	}))
	var missing []string
	for _, m := range named {
		if !strings.Contains(tests.String(), "func "+m[1]+"(") {
			missing = append(missing, m[1])
		}
	}
	require.Empty(t, missing, "docs/guarantees.md names tests that are not there")
}
