// Package wire is what goes over HTTP: the bodies of requests and answers, as JSON.
//
// It imports nothing of the engine, so that a client stays light. The server and the client share these types; the schemas
// in api/openapi.yaml say the same in another language, and a test holds the three together.
//
// A field of an answer that may be absent is a pointer and is sent as null. A request leaves out what it does not say.
package wire

// List is a page of things.
type List[T any] struct {
	Items []T `json:"items"`
	// Next is the cursor of the page after this one; null at the end.
	Next *string `json:"next"`
	// Position is how much of the log the items show, at least.
	Position int64 `json:"position"`
}

// Headers that are not HTTP's own.
const (
	HeaderIdempotencyKey = "Idempotency-Key"
	// HeaderReplayed is "true" on the answer to a command that had been accepted before.
	HeaderReplayed    = "Idempotency-Replayed"
	HeaderFence       = "Lease-Fence"
	HeaderRequestID   = "X-Request-ID"
	HeaderMinPosition = "Min-Position"
	HeaderLastEventID = "Last-Event-ID"
)

// Media types that are not JSON itself.
const (
	TypeProblem     = "application/problem+json"
	TypeMergePatch  = "application/merge-patch+json"
	TypeNDJSON      = "application/x-ndjson"
	TypeEventStream = "text/event-stream"
)
