// Package roottest holds the tests of drivers/ssh that need root: file systems that are full or read-only.
package roottest
