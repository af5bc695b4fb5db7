// Package roottest holds the tests of the whole that mount file systems of their own, which only root can.
package roottest
