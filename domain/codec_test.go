package domain_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
)

// The made-up part: an event that first said hours, then minutes.
type madeUp interface {
	domain.Event
	madeUp()
}

type Snoozed struct {
	Minutes int `json:"minutes"`
}

func (Snoozed) EventName() string { return "AlarmSnoozed" }
func (Snoozed) madeUp()           {}

type Rang struct{}

func (Rang) EventName() string { return "AlarmRang" }
func (Rang) madeUp()           {}

func hoursToMinutes(raw json.RawMessage) (json.RawMessage, error) {
	var old struct {
		Hours *int `json:"hours"`
	}
	if err := json.Unmarshal(raw, &old); err != nil {
		return nil, err
	}
	if old.Hours == nil {
		return nil, errors.New("hours is missing")
	}
	return json.Marshal(Snoozed{Minutes: *old.Hours * 60})
}

func newCodec() domain.Codec[madeUp] {
	return domain.NewCodec(domain.Spec[Snoozed, madeUp](hoursToMinutes), domain.Spec[Rang, madeUp]())
}

func TestAnOldRevisionIsLiftedToTheCurrentOne(t *testing.T) {
	t.Parallel()
	codec := newCodec()
	require.Equal(t, []domain.Entry{{Name: "AlarmRang", Revision: 1}, {Name: "AlarmSnoozed", Revision: 2}}, codec.Entries())

	old, err := codec.Decode("AlarmSnoozed", 1, []byte(`{"hours":2}`))
	require.NoError(t, err)
	require.Equal(t, Snoozed{Minutes: 120}, old)

	name, revision, payload, err := codec.Encode(old)
	require.NoError(t, err)
	require.Equal(t, "AlarmSnoozed", name)
	require.Equal(t, 2, revision)
	require.JSONEq(t, `{"minutes":120}`, string(payload))

	same, err := codec.Decode(name, revision, payload)
	require.NoError(t, err)
	require.Equal(t, old, same)
}

func TestARevisionOutsideTheCatalogIsNotGuessedAt(t *testing.T) {
	t.Parallel()
	for _, revision := range []int{-1, 0, 3} {
		_, err := newCodec().Decode("AlarmSnoozed", revision, []byte(`{}`))
		require.ErrorContains(t, err, "this program knows up to 2")
	}
}

func TestAFailedUpcastNamesTheEventAndTheRevision(t *testing.T) {
	t.Parallel()
	_, err := newCodec().Decode("AlarmSnoozed", 1, []byte(`{}`))
	require.ErrorContains(t, err, "upcast AlarmSnoozed from revision 1: hours is missing")
}

func TestAnEventOutsideTheCatalogIsAnError(t *testing.T) {
	t.Parallel()
	codec := domain.NewCodec(domain.Spec[Rang, madeUp]())
	_, _, _, err := codec.Encode(Snoozed{})
	require.ErrorContains(t, err, "AlarmSnoozed is not in the catalog")
	_, err = codec.Decode("AlarmSnoozed", 1, nil)
	require.ErrorContains(t, err, "AlarmSnoozed is not in the catalog")
	_, err = codec.Decode("AlarmRang", 1, []byte(`[`))
	require.ErrorContains(t, err, "decode AlarmRang")
}

func TestTwoEventsOfOneNameAreAProgrammingError(t *testing.T) {
	t.Parallel()
	require.PanicsWithValue(t, "domain: two events are named AlarmRang", func() {
		domain.NewCodec(domain.Spec[Rang, madeUp](), domain.Spec[Rang, madeUp]())
	})
}
