// Package apitest_test is the API as its clients see it: the real client against the real server on a port of its own, over
// the log in Postgres and its read models. Only the driver is played, by a worker that does at once what the log asks for.
package apitest_test

import (
	"testing"

	"github.com/tenure-dev/tenure/migrations/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
