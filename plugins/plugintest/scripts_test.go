package plugintest_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/driverstest"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/fake"
	"github.com/tenure-dev/tenure/plugins/host"
	"github.com/tenure-dev/tenure/plugins/manifest"
	"github.com/tenure-dev/tenure/plugins/plugintest"
)

// patience is how long a call may take; scripts are late by more.
const patience = 600 * time.Millisecond

// randomScript is what may go wrong between an acquire and the release that follows.
func randomScript(r *rand.Rand) []fake.Step {
	pick := func(n int) int { return r.IntN(n) }
	steps := make([]fake.Step, 1+pick(3))
	for i := range steps {
		s := fake.Step{Verb: fake.VerbAcquire, At: []fake.Place{fake.PlaceBefore, fake.PlaceAfter, fake.PlaceReply}[pick(3)]}
		if pick(3) == 0 {
			s.Verb = fake.VerbRelease
		}
		if pick(2) == 0 {
			s.Attempt = 1 + pick(2)
		} else {
			s.Times = 1 + pick(2)
		}
		s.Action = []fake.Action{
			fake.ActionFail, fake.ActionFail, fake.ActionDelay, fake.ActionCrash, fake.ActionLate, fake.ActionJunk, fake.ActionPartial, fake.ActionSwell,
		}[pick(8)]
		switch s.Action {
		case fake.ActionFail:
			// Only what is true: a definite failure leaves nothing.
			if s.At == fake.PlaceBefore && pick(3) == 0 {
				s.Outcome = drivers.OutcomeDefinite
			} else if s.At != fake.PlaceBefore {
				s.Outcome = drivers.OutcomeAmbiguous
			}
		case fake.ActionDelay:
			s.Ms, s.Deaf = int64(pick(50)), pick(2) == 0
		case fake.ActionLate:
			s.Ms = []int64{10, 2 * patience.Milliseconds()}[pick(2)]
		case fake.ActionPartial, fake.ActionSwell:
			s.Verb, s.DestroyFails, s.Bytes = fake.VerbAcquire, pick(3), 1000
		case fake.ActionCrash, fake.ActionJunk, fake.ActionSilent:
		}
		steps[i] = s
	}
	return steps
}

// What an engine does with a lease, done here in a few lines: acquire until it is decided, release until it succeeds, and a
// reaper over what is listed. Whatever the script, nothing may be left; only a blind provider may keep what it never told.
func TestNoScriptLeavesARuntimeBehind(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, class := range classes {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			d := scriptedDriver(t, dir, class)
			r := rand.New(rand.NewPCG(seed, 1))
			for range 15 {
				follow(t, d, dir, class, randomScript(r))
			}
		})
	}
}

func scriptedDriver(t *testing.T, dir string, class drivers.Class) drivers.Driver {
	t.Helper()
	raw, err := fake.ManifestJSON()
	require.NoError(t, err)
	m, err := manifest.Parse(raw)
	require.NoError(t, err)
	h, err := host.New(host.Options{
		Dir: t.TempDir(), HostVersion: "0.0.0", Timeouts: host.Timeouts{Initialize: time.Minute},
		// Crashes are the point here, so that none is held against the plugin.
		Restart: host.Restart{First: time.Millisecond, Longest: 2 * time.Millisecond, GiveUp: 1 << 30},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		require.NoError(t, h.Stop(ctx))
	})
	require.NoError(t, h.Set([]host.Installed{{
		Plugin: drivers.Plugin{ID: uuid.NewString(), Key: m.ID, Version: m.Version}, Manifest: m, Enabled: true, AsRoot: true,
		Command: plugintest.Command("scripted", dir),
	}}))
	offer, err := h.Offer(provider.Query{Kind: provider.KindSandbox, Key: fake.KeyOf(class)})
	require.NoError(t, err)
	return provider.NewDriver(offer, provider.Shape{
		Driver: "sandbox", Provider: fake.KeyOf(class), NoRuntimeURL: true,
		Metadata: func(_ provider.Description, _, said json.RawMessage, _ *string) json.RawMessage { return said },
		Said:     func(metadata json.RawMessage) json.RawMessage { return metadata },
	}, provider.NewLate(), nil)
}

func follow(t *testing.T, d drivers.Driver, dir string, class drivers.Class, script []fake.Step) {
	t.Helper()
	config, err := json.Marshal(map[string]any{"script": script})
	require.NoError(t, err)
	req := driverstest.AcquireRequest(driverstest.Features{Config: config})
	req.Installation = req.RuntimeID // an installation of its own: what its reaper lists is this script's
	say := func(what string, err error) { t.Logf("%s: %s: %v", config, what, err) }

	var rt drivers.Runtime
	untold := 0 // attempts of which nobody knows what they left
	for req.Attempt = 1; req.Attempt <= 6; req.Attempt++ {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		rt, err = d.Acquire(ctx, req)
		cancel()
		if err == nil || drivers.OutcomeOf(err) == drivers.OutcomeDefinite {
			break
		}
		say("acquire", err)
		if drivers.OutcomeOf(err) == drivers.OutcomeAmbiguous {
			untold++
			if class == drivers.ClassBlind {
				break // a second create is never automatic
			}
		}
	}
	acquired := err == nil
	if class == drivers.ClassBlind && !acquired {
		rt = drivers.Runtime{}
	}
	handle := driverstest.HandleOf(req, rt)
	released, began := false, time.Now()
	for attempt := 1; (attempt <= 12 || time.Since(began) < time.Minute) && !released; attempt++ { // a busy machine starts no worker in the time of twelve
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := d.Release(ctx, drivers.ReleaseRequest{Handle: handle, Attempt: attempt})
		cancel()
		if released = err == nil; !released {
			say("release", err)
		}
		if f, ok := errors.AsType[*drivers.Failure](err); ok && f.Code == "acquire_unanswered" {
			<-time.After(200 * time.Millisecond) // as an engine's back-off: the provider has yet to answer
		}
		if class == drivers.ClassBlind && untold > 0 && !acquired {
			break // there may be no name to release by
		}
	}
	if class != drivers.ClassBlind || acquired {
		require.True(t, released, "%s", config)
	}
	left := func() (n int) {
		led, err := fake.ReadLedger(fake.LedgerPath(dir))
		require.NoError(t, err)
		for _, e := range led.Live() {
			if e.RuntimeID == req.RuntimeID {
				n++
			}
		}
		return n
	}
	if class == drivers.ClassBlind {
		require.LessOrEqual(t, left(), untold, "%s", config)
		return
	}
	// What a late call made after the release is a reaper's to find.
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if listed, err := drivers.ListRuntimes(ctx, d, drivers.ListRequest{Installation: req.Installation}); err == nil && len(listed) > 0 {
			_ = d.Release(ctx, drivers.ReleaseRequest{Handle: handle, Attempt: 20}) // it is listed again if this fails
		}
		return left() == 0
	}, 2*time.Minute, 20*time.Millisecond, "%s", config)
}
