// Package roottest holds the tests of drivers/local that need root: commands under another user, and a disk that is
// really full.
package roottest
