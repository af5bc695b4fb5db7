// Package roottest holds the tests of package embedded that become other users, which only root can.
package roottest
