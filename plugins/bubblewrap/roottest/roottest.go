// Package roottest holds the tests of plugins/bubblewrap that need root: real limits, delegated to a worker that has no
// privilege, and cgroups that are really removed.
package roottest
