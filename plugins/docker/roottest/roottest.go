// Package roottest has the tests of plugins/docker that need a real Docker engine, and with it root.
package roottest
