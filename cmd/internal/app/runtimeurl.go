package app

import (
	"context"

	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/drivers/runtimeurl"
)

// urlFinder looks for the way back from a sandbox.
type urlFinder struct{ discoverer *runtimeurl.Discoverer }

var _ provider.URLFinder = urlFinder{}

// FindURL implements [provider.URLFinder].
func (f urlFinder) FindURL(ctx context.Context, q provider.URLQuery, run provider.RunScript) (url, tried string) {
	found := f.discoverer.Discover(ctx, scripts(run), runtimeurl.Query{Configured: q.Configured, Local: q.Local})
	return found.URL, found.String()
}

// scripts runs a script of the search in a runtime.
type scripts provider.RunScript

// RunScript implements [runtimeurl.Runner].
func (s scripts) RunScript(ctx context.Context, script string, stdin []byte) ([]byte, error) {
	return s(ctx, script, stdin)
}
