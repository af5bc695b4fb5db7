// Package roottest holds the tests of plugins/cgroup that need root: cgroups of the machine, given to another user.
package roottest
