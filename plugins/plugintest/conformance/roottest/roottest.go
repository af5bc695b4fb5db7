// Package roottest holds what only root can test of the conformance suite.
package roottest
