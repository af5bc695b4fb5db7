package commands

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/eventstore"
)

// What else happens, in the same append, when a lease comes to keep a runtime, and when it ends to: the runtime has a holder
// or none, and the admission knows who may have it next. See domain/lease/reuse.go and domain/admission/kept.go.

// errFormerFirst says that a lease cannot have its own runtime yet: the kept one that came with its slot is of another make
// and is torn down first.
var errFormerFirst = domain.Refuse(domain.KindStale, "former_runtime_first", "the runtime that was kept in this slot is torn down first")

// FormerFirst reports whether a claim has to wait for the teardown of a kept runtime.
func FormerFirst(err error) bool {
	r, ok := errors.AsType[*domain.Refusal](err)
	return ok && r.Code == errFormerFirst.Code
}

// settleKept follows what a command did to the runtime that a lease keeps.
func settleKept(ctx context.Context, w *eventstore.Work, id domain.LeaseID, before, after lease.State) error {
	switch {
	case !before.Kept && after.Kept:
		if _, err := eventstore.Act(ctx, w, Runtimes, after.Runtime.UUID, runtime.Command(runtime.Free{Lease: id})); err != nil {
			return err
		}
		return actOnAdmission(ctx, w, after.Environment, admission.Rest{Lease: id, Scope: after.Scope()})
	case before.Kept && !after.Kept && after.PassedTo.IsZero():
		return actOnAdmission(ctx, w, after.Environment, admission.Evict{Lease: id})
	case !before.TeardownFailed && after.TeardownFailed && after.RetentionEnd == lease.RetentionEvicted:
		return actOnAdmission(ctx, w, after.Environment, admission.Stall{Lease: id})
	}
	return nil
}

// giveUpSlot gives up the lease's slot or its place in the queue. A slot that came with a kept runtime goes back to the lease
// which keeps it, if it was not touched.
func giveUpSlot(ctx context.Context, w *eventstore.Work, id domain.LeaseID, l lease.State) error {
	if !l.From.IsZero() && l.Attempt == 0 {
		former, err := eventstore.View(ctx, w, Leases, l.From.UUID)
		if err != nil {
			return err
		}
		if former.Kept {
			return actOnAdmission(ctx, w, l.Environment, admission.HandBack{Lease: id, To: l.From, Scope: former.Scope()})
		}
	}
	return actOnAdmission(ctx, w, l.Environment, admission.Leave{Lease: id})
}

// actOnAdmission decides a command on an admission, and lets the leases follow: those admitted are granted, kept runtimes
// that are to make room go.
func actOnAdmission(ctx context.Context, w *eventstore.Work, env domain.EnvironmentID, cmd admission.Command) error {
	events, err := eventstore.Act(ctx, w, Admissions, env.UUID, cmd)
	if err != nil {
		return err
	}
	for _, e := range events {
		switch e := e.(type) {
		case admission.Admitted:
			grant := lease.Grant{Slot: e.Slot, Rule: e.Rule, From: e.From}
			if !e.From.IsZero() {
				former, err := eventstore.View(ctx, w, Leases, e.From.UUID)
				if err != nil {
					return err
				}
				grant.Node = former.Node
			}
			if _, err := eventstore.Act(ctx, w, Leases, e.Lease.UUID, lease.Command(grant)); err != nil {
				return err
			}
		case admission.Evicted:
			if _, err := eventstore.Act(ctx, w, Leases, e.Lease.UUID, lease.Command(lease.EndRetention{Reason: lease.RetentionEvicted})); err != nil {
				return err
			}
		case admission.Opened, admission.CapacityChanged, admission.Closed, admission.Waiting, admission.Left, admission.Freed,
			admission.Idled, admission.Stalled, admission.HandedBack:
		}
	}
	return nil
}

// inherit completes the first claim of a lease whose slot came with a kept runtime: it is resumed if it is of the same make;
// else it is torn down first, and wait says so.
func inherit(ctx context.Context, w *eventstore.Work, l lease.State, claim *lease.StartProvisioning) (wait bool, err error) {
	former, err := eventstore.View(ctx, w, Leases, l.From.UUID)
	if err != nil {
		return false, err
	}
	switch {
	case former.Kept && former.Fingerprint == claim.Fingerprint && former.Node != claim.Node:
		return false, errFormerAway
	case former.Kept && former.Fingerprint == claim.Fingerprint:
		claim.Resume = &lease.Resume{
			Lease: l.From, Runtime: former.Runtime, ProviderLeaseID: former.ProviderLeaseID, Metadata: former.Metadata,
		}
		return false, nil
	case former.Kept:
		_, err := eventstore.Act(ctx, w, Leases, l.From.UUID, lease.Command(lease.EndRetention{Reason: lease.RetentionDrift}))
		return true, err
	}
	// One whose teardown does not succeed for now holds nobody up: it stays on record.
	claim.Replaces = string(former.RetentionEnd)
	return former.NeedsTeardown() && !former.TeardownFailed, nil
}

// takeOver gives the kept runtime that a claim resumes to its lease.
func takeOver(ctx context.Context, w *eventstore.Work, id domain.LeaseID, l lease.State) error {
	if _, err := eventstore.Act(ctx, w, Runtimes, l.Runtime.UUID, runtime.Command(runtime.Take{Lease: id})); err != nil {
		return err
	}
	_, err := eventstore.Act(ctx, w, Leases, l.From.UUID, lease.Command(lease.Pass{To: id}))
	return err
}

// giveUpGone says of a kept runtime that an attempt found gone, or found another one in its place, what has become of it.
func giveUpGone(ctx context.Context, w *eventstore.Work, id domain.LeaseID, was lease.State, why lease.GoneReason) error {
	if why != lease.GoneMismatch {
		return endRuntime(ctx, w, was.Runtime, id, string(why), runtime.ProofAbsent)
	}
	if _, err := eventstore.Act(ctx, w, Runtimes, was.Runtime.UUID, runtime.Command(runtime.Lose{Reason: string(why)})); err != nil {
		return err
	}
	return listRuntime(ctx, w, id, was, leak.WhyMismatch)
}

// endRuntime says that a runtime is gone, whose last lease is this one. What is known of it already stays as it is.
func endRuntime(
	ctx context.Context, w *eventstore.Work, id domain.RuntimeID, last domain.LeaseID, reason string, proof runtime.Proof,
) error {
	for _, cmd := range []runtime.Command{runtime.Destroy{Lease: last, Reason: reason}, runtime.ConfirmDestroyed{Proof: proof}} {
		if _, err := eventstore.Act(ctx, w, Runtimes, id.UUID, cmd); err != nil {
			return err
		}
	}
	return nil
}

// fingerprint tells what a runtime is made from: two leases with equal ones would get equal runtimes. It is "" for a lease
// whose runtime nobody else may have.
func fingerprint(ctx context.Context, w *eventstore.Work, l lease.State, plugin *lease.Plugin, need Need) (string, error) {
	if l.Scope() == "" {
		return "", nil
	}
	var secrets []string
	for _, ref := range need.Refs {
		_, version, err := pick(ctx, w, l.Company, ref)
		if _, refused := errors.AsType[*domain.Refusal](err); err != nil && !refused {
			return "", err
		}
		secrets = append(secrets, fmt.Sprintf("%s@%d", ref.Secret, version))
	}
	slices.Sort(secrets)
	var config any
	if len(l.Config) > 0 {
		if err := json.Unmarshal(l.Config, &config); err != nil {
			return "", fmt.Errorf("read the configuration of a lease: %w", err)
		}
	}
	made, err := json.Marshal(struct {
		Driver, Provider, Secrets string
		Config                    any
		Plugin                    *lease.Plugin
	}{l.Driver, l.Provider, strings.Join(slices.Compact(secrets), " "), config, plugin})
	if err != nil {
		return "", fmt.Errorf("tell what a runtime is made from: %w", err)
	}
	sum := sha256.Sum256(made)
	return hex.EncodeToString(sum[:16]), nil
}
