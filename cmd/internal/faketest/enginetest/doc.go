// Package enginetest runs the real program with the provider fake as a worker process of its own, lets it fail as the cases
// A09 to A13, A17 and A18 say, and asks the ledger what is left outside.
package enginetest
