package projections

import (
	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
)

// Take takes an event into the state of a part of the domain. Most read models keep that state: what an event means is
// said once, in the part's Evolve.
func Take[S any, E domain.Event](state *S, e *Event, codec domain.Codec[E], evolve func(S, E, domain.Meta) S) error {
	happened, err := Decode(e, codec)
	if err != nil {
		return err
	}
	*state = evolve(*state, happened, e.Meta())
	return nil
}

// IDOf is the id of the thing whose stream the event is in.
func IDOf[I ~struct{ uuid.UUID }](e *Event) (I, error) {
	id, err := e.Stream.ID()
	return I(struct{ uuid.UUID }{id}), err
}

// Words are values of named string types as the database takes them.
func Words[S ~string](list []S) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}
