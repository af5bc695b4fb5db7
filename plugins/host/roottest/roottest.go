// Package roottest holds the tests of plugins/host that need root: workers under another user.
package roottest
