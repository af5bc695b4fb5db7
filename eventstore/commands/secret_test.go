package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	companies "github.com/tenure-dev/tenure/domain/company"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/secretread"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
	"github.com/tenure-dev/tenure/eventstore/memory"
	"github.com/tenure-dev/tenure/eventstore/pg"
	"github.com/tenure-dev/tenure/eventstore/vault"
	"github.com/tenure-dev/tenure/migrations/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// mark is a value that must be nowhere but in the vault.
const mark = "MARK-7f3a"

// world is a store with two companies.
type world struct {
	*testing.T
	store       eventstore.Store
	commands    *commands.Commands
	own, others domain.CompanyID
}

func newWorld(t *testing.T, store eventstore.Store, v *vault.Vault) *world {
	t.Helper()
	w := &world{
		T: t, store: store, commands: commands.New(eventstore.NewLedger(store), v),
		own: domain.CompanyID{UUID: uuid.New()}, others: domain.CompanyID{UUID: uuid.New()},
	}
	for _, id := range []domain.CompanyID{w.own, w.others} {
		_, err := w.commands.AddCompany(t.Context(), commands.Caller{}, id, "Acme")
		require.NoError(t, err)
	}
	return w
}

func inMemory(t *testing.T) *world { return newWorld(t, memory.New(), vault.InMemory()) }

func onPostgres(t *testing.T) (*world, *pg.Store) {
	t.Helper()
	store, err := pg.Open(t.Context(), pgtest.Pool(t), pg.Options{})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	return newWorld(t, store, vault.InMemory()), store
}

func (w *world) add(company domain.CompanyID, value string) domain.SecretID {
	w.Helper()
	id := domain.SecretID{UUID: uuid.New()}
	_, err := w.commands.AddSecret(w.Context(), commands.Caller{}, commands.NewSecret{ID: id, Company: company, Name: "deploy key", Value: value})
	require.NoError(w, err)
	return id
}

// use resolves and opens references as a worker does at a claim.
func (w *world) use(company domain.CompanyID, read secretread.Read, refs ...domain.SecretRef) (commands.SecretValues, error) {
	var resolved commands.Resolved
	_, err := eventstore.Execute(w.Context(), w.commands.Ledger(), eventstore.Options{}, func(ctx context.Context, work *eventstore.Work) error {
		work.Company(company)
		var err error
		resolved, err = commands.ResolveSecrets(ctx, work, company, refs, read)
		return err
	})
	if err != nil {
		return nil, err
	}
	return w.commands.OpenSecrets(w.Context(), resolved)
}

func (w *world) reads(id domain.SecretID) []secretread.Read {
	w.Helper()
	events, err := w.store.ReadStream(w.Context(), commands.SecretReads.Stream(id.UUID), 0, 10_000)
	require.NoError(w, err)
	var reads []secretread.Read
	for _, r := range events {
		e, err := secretread.Codec.Decode(r.Name, r.Revision, r.Payload)
		require.NoError(w, err)
		require.Equal(w, w.own, r.Company)
		reads = append(reads, e.(secretread.Read))
	}
	return reads
}

func refused(t *testing.T, err error, code string) *domain.Refusal {
	t.Helper()
	r, ok := errors.AsType[*domain.Refusal](err)
	require.True(t, ok, "want the refusal %s, got %v", code, err)
	require.Equal(t, code, r.Code)
	require.NotEmpty(t, r.Remediation)
	require.NotContains(t, r.Error()+r.Remediation, mark)
	return r
}

// nowhere holds everything that is in the log to be without the mark.
func (w *world) nowhere() {
	w.Helper()
	events, err := w.store.ReadAll(w.Context(), 0, 10_000)
	require.NoError(w, err)
	for _, e := range events {
		require.NotContains(w, string(e.Payload), mark, e.Name)
	}
}

func TestASecretIsReadUnderItsReferenceAndTheReadIsRecorded(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	id := w.add(w.own, mark+" 1")
	_, err := w.commands.AddSecretVersion(t.Context(), commands.Caller{}, id, mark+" 2")
	require.NoError(t, err)
	latest, first, second := domain.SecretRef{Secret: id}, domain.SecretRef{Secret: id, Version: 1}, domain.SecretRef{Secret: id, Version: 2}
	read := secretread.Read{Purpose: secretread.PurposeExec, Lease: domain.LeaseID{UUID: uuid.New()}, Worker: domain.WorkerID{UUID: uuid.New()}}
	values, err := w.use(w.own, read, latest, first, second, latest)
	require.NoError(t, err)
	require.Equal(t, commands.SecretValues{latest: mark + " 2", first: mark + " 1", second: mark + " 2"}, values)
	one, two := read, read
	one.Version, two.Version = 1, 2
	require.Equal(t, []secretread.Read{two, one}, w.reads(id), "one for each version that was read")
	w.nowhere()
}

func TestASecretOfAnotherCompanyLooksLikeNone(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	foreign, none := w.add(w.others, mark), domain.SecretID{UUID: uuid.New()}
	_, errForeign := w.use(w.own, secretread.Read{}, domain.SecretRef{Secret: foreign})
	_, errNone := w.use(w.own, secretread.Read{}, domain.SecretRef{Secret: none})
	a, b := refused(t, errForeign, "secret_not_found"), refused(t, errNone, "secret_not_found")
	require.Equal(t, strings.ReplaceAll(a.Message, foreign.String(), none.String()), b.Message)
	require.Contains(t, a.Message, foreign.String())
	require.Equal(t, domain.KindNotFound, a.Kind)
	require.Empty(t, w.reads(foreign))

	// One that is good beside one that is not is not read.
	own := w.add(w.own, mark)
	_, err := w.use(w.own, secretread.Read{}, domain.SecretRef{Secret: own}, domain.SecretRef{Secret: foreign})
	_ = refused(t, err, "secret_not_found")
	require.Empty(t, w.reads(own))
}

// A claim that cannot have its secrets may go on without them, and no read is recorded.
func TestAnAppendGoesOnWithoutSecretsThatWereRefused(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	own, none := w.add(w.own, mark), domain.SecretID{UUID: uuid.New()}
	company := domain.CompanyID{UUID: uuid.New()}
	_, err := eventstore.Execute(t.Context(), w.commands.Ledger(), eventstore.Options{}, func(ctx context.Context, work *eventstore.Work) error {
		work.Company(w.own)
		_, err := commands.ResolveSecrets(ctx, work, w.own, []domain.SecretRef{{Secret: own}, {Secret: none}}, secretread.Read{})
		_ = refused(t, err, "secret_not_found")
		_, err = eventstore.Act(ctx, work, commands.Companies, company.UUID, companies.Command(companies.Add{Name: "another"}))
		return err
	})
	require.NoError(t, err)
	require.Empty(t, w.reads(own))
	made, err := eventstore.Load(t.Context(), w.commands.Ledger(), commands.Companies, company.UUID)
	require.NoError(t, err)
	require.True(t, made.State.Known)
}

func TestWhatIsDisabledOrDestroyedIsRefusedByName(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	id := w.add(w.own, mark)
	ref := domain.SecretRef{Secret: id}
	_, err := w.commands.DisableSecretVersion(t.Context(), commands.Caller{}, id, 1)
	require.NoError(t, err)
	_, err = w.use(w.own, secretread.Read{}, ref)
	require.Contains(t, refused(t, err, "secret_version_disabled").Message, `"deploy key"`)
	_, err = w.commands.EnableSecretVersion(t.Context(), commands.Caller{}, id, 1)
	require.NoError(t, err)
	_, err = w.use(w.own, secretread.Read{}, ref)
	require.NoError(t, err)
	_, err = w.commands.DestroySecret(t.Context(), commands.Caller{}, id)
	require.NoError(t, err)
	_, err = w.use(w.own, secretread.Read{}, ref)
	require.Contains(t, refused(t, err, "secret_destroyed").Message, id.String())
	require.Len(t, w.reads(id), 1, "a refused read is none")
}

func TestDestroyedValuesAreGoneFromTheTable(t *testing.T) {
	t.Parallel()
	w, store := onPostgres(t)
	id, kept := w.add(w.own, mark), w.add(w.own, mark)
	for range 3 {
		_, err := w.commands.AddSecretVersion(t.Context(), commands.Caller{}, id, mark)
		require.NoError(t, err)
	}
	count := func() map[eventstore.Stream]int {
		n := map[eventstore.Stream]int{}
		inputs, err := store.ListInputs(t.Context(), uuid.Nil, 100)
		require.NoError(t, err)
		for _, in := range inputs {
			require.True(t, vault.Sealed(in.Value))
			require.NotContains(t, string(in.Value), mark)
			n[in.Subject]++
		}
		return n
	}
	own, other := commands.Secrets.Stream(id.UUID), commands.Secrets.Stream(kept.UUID)
	require.Equal(t, map[eventstore.Stream]int{own: 4, other: 1}, count())
	// Somebody has found the reference good, and is slow.
	resolved := commands.Resolved{{Ref: domain.SecretRef{Secret: id}, Company: w.own, Name: "deploy key", Version: 2}}
	_, err := w.commands.DestroySecretVersion(t.Context(), commands.Caller{}, id, 2)
	require.NoError(t, err)
	require.Equal(t, map[eventstore.Stream]int{own: 3, other: 1}, count())
	_, err = w.commands.OpenSecrets(t.Context(), resolved)
	_ = refused(t, err, "secret_version_destroyed")
	_, err = w.commands.DestroySecret(t.Context(), commands.Caller{}, id)
	require.NoError(t, err)
	require.Equal(t, map[eventstore.Stream]int{other: 1}, count())
	w.nowhere()
}

func TestAValueThatWasMovedToAnotherSecretDoesNotOpen(t *testing.T) {
	t.Parallel()
	w, store := onPostgres(t)
	a := w.add(w.own, mark)
	b := w.add(w.others, "theirs")
	inputs, err := store.ListInputs(t.Context(), uuid.Nil, 100)
	require.NoError(t, err)
	require.Len(t, inputs, 2)
	done, err := store.ReplaceInput(t.Context(), inputs[0].ID, inputs[0].Value, inputs[1].Value)
	require.NoError(t, err)
	require.True(t, done)
	of := map[eventstore.Stream]struct {
		id      domain.SecretID
		company domain.CompanyID
	}{commands.Secrets.Stream(a.UUID): {a, w.own}, commands.Secrets.Stream(b.UUID): {b, w.others}}[inputs[0].Subject]
	_, err = w.use(of.company, secretread.Read{}, domain.SecretRef{Secret: of.id})
	require.ErrorIs(t, err, vault.ErrDamaged)
	require.NotContains(t, err.Error(), mark)
}

// Fifty at once, on one secret: each succeeds, none has to try again, and each read is recorded once.
func TestFiftyReadersOfOneSecretAreFiftyReads(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]func(t *testing.T) *world{
		"memory": inMemory,
		"postgres": func(t *testing.T) *world {
			w, _ := onPostgres(t)
			return w
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := store(t)
			id := w.add(w.own, mark)
			const readers = 50
			var wg sync.WaitGroup
			errs := make([]error, readers)
			leases := make([]domain.LeaseID, readers)
			for i := range readers {
				leases[i] = domain.LeaseID{UUID: uuid.New()}
				wg.Go(func() {
					tries := 0
					var resolved commands.Resolved
					_, err := eventstore.Execute(t.Context(), w.commands.Ledger(), eventstore.Options{}, func(ctx context.Context, work *eventstore.Work) error {
						tries++
						work.Company(w.own)
						var err error
						resolved, err = commands.ResolveSecrets(ctx, work, w.own, []domain.SecretRef{{Secret: id}}, secretread.Read{Purpose: secretread.PurposeAcquire, Lease: leases[i]})
						return err
					})
					if err == nil && tries != 1 {
						err = fmt.Errorf("%d tries", tries)
					}
					if err == nil {
						var values commands.SecretValues
						values, err = w.commands.OpenSecrets(t.Context(), resolved)
						if err == nil && values[domain.SecretRef{Secret: id}] != mark {
							err = errors.New("another value")
						}
					}
					errs[i] = err
				})
			}
			wg.Wait()
			require.NoError(t, errors.Join(errs...))
			var got []domain.LeaseID
			for _, r := range w.reads(id) {
				got = append(got, r.Lease)
			}
			require.ElementsMatch(t, leases, got)
		})
	}
}

// A version that is disabled between the look and the append is not given out.
func TestAReadIsHeldToTheSecretAsItWasSeen(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	id := w.add(w.own, mark)
	other := commands.New(eventstore.NewLedger(w.store), w.commands.Vault())
	tries := 0
	_, err := eventstore.Execute(t.Context(), w.commands.Ledger(), eventstore.Options{}, func(ctx context.Context, work *eventstore.Work) error {
		work.Company(w.own)
		_, err := commands.ResolveSecrets(ctx, work, w.own, []domain.SecretRef{{Secret: id}}, secretread.Read{})
		if tries++; tries == 1 {
			_, err := other.DisableSecretVersion(ctx, commands.Caller{}, id, 1)
			require.NoError(t, err)
		}
		return err
	})
	_ = refused(t, err, "secret_version_disabled")
	require.Empty(t, w.reads(id))
}

var fields commands.SecretFields = func(driver string, config json.RawMessage) ([]commands.SecretField, error) {
	if driver == "away" {
		return nil, domain.Refuse(domain.KindInvalid, "plugin_disabled", "the plugin is disabled").Mend("enable it")
	}
	var held []commands.SecretField
	for _, f := range []commands.SecretField{{"/privateKey", "/privateKeySecretRef"}, {"/token", "/token"}, {"/jump/0/key", "/jump/0/key"}} {
		if strings.Contains(string(config), f.Value[strings.LastIndex(f.Value, "/")+1:]) {
			held = append(held, f)
		}
	}
	return held, nil
}

func (w *world) environment(config string, vars map[string]domain.EnvValue) (domain.EnvironmentID, error) {
	id := domain.EnvironmentID{UUID: uuid.New()}
	_, err := w.commands.RegisterEnvironment(w.Context(), commands.Caller{}, id, environment.Registered{
		Company: w.own, Name: "build", Driver: "x", Config: json.RawMessage(config), EnvVars: vars,
	}, fields)
	return id, err
}

func (w *world) config(id domain.EnvironmentID) json.RawMessage {
	w.Helper()
	env, err := eventstore.Load(w.Context(), w.commands.Ledger(), commands.Environments, id.UUID)
	require.NoError(w, err)
	return env.State.Config
}

// values are those of every reference in an environment's configuration.
func (w *world) values(id domain.EnvironmentID) map[string]string {
	w.Helper()
	found, err := commands.FindSecretRefs(w.config(id))
	require.NoError(w, err)
	out := map[string]string{}
	for _, f := range found {
		values, err := w.use(w.own, secretread.Read{Purpose: secretread.PurposeProbe}, f.Ref)
		require.NoError(w, err)
		out[f.Pointer] = values[f.Ref]
	}
	return out
}

func TestRawSecretsOfAConfigBecomeReferencesWhenItIsSaved(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	id, err := w.environment(`{"host":"h","port":22,"privateKey":"`+mark+` key\n","token":"`+mark+` token","jump":[{"key":"`+mark+` jump","host":"<b>"}]}`, nil)
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"/privateKeySecretRef": mark + " key\n", "/token": mark + " token", "/jump/0/key": mark + " jump",
	}, w.values(id))
	var config map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(w.config(id), &config))
	require.NotContains(t, config, "privateKey")
	require.Equal(t, "22", string(config["port"]))
	require.Contains(t, string(w.config(id)), `"<b>"`)
	w.nowhere()
	refs, err := commands.SecretRefs(w.config(id))
	require.NoError(t, err)
	require.Len(t, refs, 3)
	for _, ref := range refs {
		s, err := w.commands.Secret(t.Context(), ref.Secret)
		require.NoError(t, err)
		require.Equal(t, w.own, s.Company)
		require.True(t, strings.HasPrefix(s.Name, "build "), s.Name)
		require.Zero(t, ref.Version)
	}
}

// Whether a field is a secret only its driver can tell, and that may go away between the check of a configuration and its save.
func TestAConfigurationWhoseSecretsCannotBeToldIsNotSaved(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	id := domain.EnvironmentID{UUID: uuid.New()}
	register := func(config string) error {
		_, err := w.commands.RegisterEnvironment(t.Context(), commands.Caller{}, id, environment.Registered{
			Company: w.own, Name: "build", Driver: "away", Config: json.RawMessage(config),
		}, fields)
		return err
	}
	_ = refused(t, register(`{"token":"`+mark+`"}`), "plugin_disabled")
	_, err := w.commands.RequestProbe(t.Context(), commands.Caller{}, commands.Probe{
		Probe: domain.ProbeID{UUID: uuid.New()}, Company: w.own, Driver: "away", Config: json.RawMessage(`{"token":"` + mark + `"}`), Fields: fields,
		Provider: func(driver string, _ json.RawMessage) string { return driver },
	})
	_ = refused(t, err, "plugin_disabled")
	w.nowhere()

	// What is saved already does not stand in the way of another change.
	_, err = w.commands.RegisterEnvironment(t.Context(), commands.Caller{}, id, environment.Registered{
		Company: w.own, Name: "build", Driver: "away", Config: json.RawMessage(`{"size":1}`),
	}, commands.NoSecretFields)
	require.NoError(t, err)
	change := func(how func(*environment.Reconfigured)) error {
		_, err := w.commands.ReconfigureEnvironment(t.Context(), commands.Caller{}, id, 0, func(now environment.Reconfigured) (environment.Reconfigured, error) {
			how(&now)
			return now, nil
		}, fields)
		return err
	}
	require.NoError(t, change(func(r *environment.Reconfigured) { r.Description = "other" }))
	_ = refused(t, change(func(r *environment.Reconfigured) { r.Config = json.RawMessage(`{"token":"` + mark + `"}`) }), "plugin_disabled")
	w.nowhere()
}

// A probe of settings that are not saved is no way around the company either.
func TestAnUnsavedProbeRefersToTheCompanysSecretsOnly(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	raw, err := json.Marshal(domain.SecretRef{Secret: w.add(w.others, mark)})
	require.NoError(t, err)
	_, err = w.commands.RequestProbe(t.Context(), commands.Caller{}, commands.Probe{
		Probe: domain.ProbeID{UUID: uuid.New()}, Company: w.own, Driver: "x", Config: json.RawMessage(`{"token":` + string(raw) + `}`), Fields: fields,
		Provider: func(driver string, _ json.RawMessage) string { return driver },
	})
	require.Equal(t, "config.token", refused(t, err, "secret_not_found").Field)
}

func TestARawSecretInThePlaceOfAReferenceIsANewVersionOfThatSecret(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	id, err := w.environment(`{"privateKey":"`+mark+` 1","token":"`+mark+` 1"}`, nil)
	require.NoError(t, err)
	before, err := commands.FindSecretRefs(w.config(id))
	require.NoError(t, err)
	change := func(config string) {
		_, err := w.commands.ReconfigureEnvironment(t.Context(), commands.Caller{}, id, 0, func(now environment.Reconfigured) (environment.Reconfigured, error) {
			held, err := fields("x", json.RawMessage(config))
			require.NoError(t, err)
			now.Config, err = commands.PreferRawSecrets(json.RawMessage(config), held)
			return now, err
		}, fields)
		require.NoError(t, err)
	}
	ref, err := json.Marshal(before[0].Ref)
	require.NoError(t, err)
	change(`{"privateKey":"` + mark + ` 2","privateKeySecretRef":` + string(ref) + `,"token":"` + mark + ` 2"}`)
	after, err := commands.FindSecretRefs(w.config(id))
	require.NoError(t, err)
	require.Equal(t, before, after, "the same secrets")
	require.Equal(t, map[string]string{"/privateKeySecretRef": mark + " 2", "/token": mark + " 2"}, w.values(id))

	// A destroyed secret takes no value: it becomes another one.
	_, err = w.commands.DestroySecret(t.Context(), commands.Caller{}, before[1].Ref.Secret)
	require.NoError(t, err)
	change(`{"token":"` + mark + ` 3"}`)
	require.Equal(t, map[string]string{"/token": mark + " 3"}, w.values(id))
	w.nowhere()
}

func TestAReferenceThatIsNotTheCompanysIsRefusedOnSaveAndNamesItsField(t *testing.T) {
	t.Parallel()
	w := inMemory(t)
	foreign := domain.SecretRef{Secret: w.add(w.others, mark)}
	raw, err := json.Marshal(foreign)
	require.NoError(t, err)
	for config, field := range map[string]string{
		`{"token":` + string(raw) + `}`:                                       "config.token",
		`{"deep":{"list":[1,` + string(raw) + `]}}`:                           "config.deep.list.1",
		`{"a/b~c":` + strings.ReplaceAll(string(raw), "latest", "nope") + `}`: "config.a/b~c",
	} {
		_, err := w.environment(config, nil)
		r, ok := errors.AsType[*domain.Refusal](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, field, r.Field)
	}
	_, err = w.environment(`{}`, map[string]domain.EnvValue{"TOKEN": {Ref: foreign}})
	require.Equal(t, "envVars.TOKEN", refused(t, err, "secret_not_found").Field)
	own := w.add(w.own, mark)
	_, err = w.environment(`{}`, map[string]domain.EnvValue{"TOKEN": {Ref: domain.SecretRef{Secret: own, Version: 2}}})
	require.Equal(t, "envVars.TOKEN", refused(t, err, "secret_version_not_found").Field)

	// What was saved once does not stand in the way of another change when its secret is gone.
	id, err := w.environment(`{}`, map[string]domain.EnvValue{"TOKEN": {Ref: domain.SecretRef{Secret: own}}})
	require.NoError(t, err)
	_, err = w.commands.DestroySecret(t.Context(), commands.Caller{}, own)
	require.NoError(t, err)
	_, err = w.commands.ReconfigureEnvironment(t.Context(), commands.Caller{}, id, 0, func(now environment.Reconfigured) (environment.Reconfigured, error) {
		now.Description = "other"
		return now, nil
	}, fields)
	require.NoError(t, err)
}

func TestTheReferenceItselfNeverReachesAProcess(t *testing.T) {
	t.Parallel()
	ref := domain.SecretRef{Secret: domain.SecretID{UUID: uuid.New()}}
	raw, err := json.Marshal(ref)
	require.NoError(t, err)
	config := json.RawMessage(`{"a":[{"b":` + string(raw) + `}],"c":1}`)
	_, err = commands.ReplaceSecretRefs(config, nil)
	require.ErrorContains(t, err, "config.a.0.b")
	_, err = commands.SecretValues{}.EnvVars(map[string]domain.EnvValue{"TOKEN": {Ref: ref}})
	require.ErrorContains(t, err, `"TOKEN"`)
	values := commands.SecretValues{ref: mark + "\"\n"}
	out, err := commands.ReplaceSecretRefs(config, values)
	require.NoError(t, err)
	require.JSONEq(t, `{"a":[{"b":"`+mark+`\"\n"}],"c":1}`, string(out))
	vars, err := values.EnvVars(map[string]domain.EnvValue{"TOKEN": {Ref: ref}, "A": {Plain: "1"}})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"TOKEN": mark + "\"\n", "A": "1"}, vars)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("values", "them", values, "one", struct{ V commands.SecretValues }{values})
	slog.New(slog.NewJSONHandler(&log, nil)).Info("values", "them", values, "one", struct{ V commands.SecretValues }{values})
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", values, values, values, values)+log.String(), mark, "no print shows a value")
	same, err := commands.ReplaceSecretRefs(json.RawMessage(`{ "a": 1 }`), values)
	require.NoError(t, err)
	require.Equal(t, `{ "a": 1 }`, string(same))
}

func TestValuesOfALeaseAreSealedAndThoseOfAnEarlierVersionStillOpen(t *testing.T) {
	t.Parallel()
	w, store := onPostgres(t)
	env, err := w.environment(`{}`, nil)
	require.NoError(t, err)
	acquire := func() domain.LeaseID {
		id := domain.LeaseID{UUID: uuid.New()}
		_, err := w.commands.AcquireLease(t.Context(), commands.Caller{}, commands.Acquire{
			Lease: id, Company: w.own, Environment: env, Provider: func(string, json.RawMessage) string { return "x" }, Run: "r",
			Policy: lease.PolicyEphemeral, TTL: time.Hour, IdleTimeout: time.Hour, Env: map[string]string{"TOKEN": mark},
		})
		require.NoError(t, err)
		return id
	}
	id, old := acquire(), acquire()
	in, err := store.ReadInput(t.Context(), id.UUID)
	require.NoError(t, err)
	require.True(t, vault.Sealed(in.Value))
	require.NotContains(t, string(in.Value), mark)
	was, err := store.ReadInput(t.Context(), old.UUID)
	require.NoError(t, err)
	done, err := store.ReplaceInput(t.Context(), old.UUID, was.Value, []byte(`{"env":{"TOKEN":"`+mark+` old"},"salt":"AAAA"}`))
	require.NoError(t, err)
	require.True(t, done)
	values := func(id domain.LeaseID) string {
		v, err := w.commands.Values(t.Context(), id.UUID)
		require.NoError(t, err)
		return v.Env["TOKEN"]
	}
	require.Equal(t, mark, values(id))
	require.Equal(t, mark+" old", values(old))

	// At the start what is plain is sealed; a second time there is nothing to do.
	report, err := w.commands.Reseal(t.Context(), store)
	require.NoError(t, err)
	require.Equal(t, commands.Resealed{Seen: 2, Sealed: 1}, report)
	was, err = store.ReadInput(t.Context(), old.UUID)
	require.NoError(t, err)
	require.True(t, vault.Sealed(was.Value))
	require.Equal(t, mark+" old", values(old))
	report, err = w.commands.Reseal(t.Context(), store)
	require.NoError(t, err)
	require.Equal(t, commands.Resealed{Seen: 2}, report)

	// The values of one lease do not open as those of another.
	done, err = store.ReplaceInput(t.Context(), old.UUID, was.Value, in.Value)
	require.NoError(t, err)
	require.True(t, done)
	_, err = w.commands.Values(t.Context(), old.UUID)
	require.ErrorIs(t, err, vault.ErrDamaged)
}

func TestAfterARotationEverythingIsSealedWithTheNewKey(t *testing.T) {
	t.Parallel()
	first, err := vault.NewKeyset()
	require.NoError(t, err)
	store, err := pg.Open(t.Context(), pgtest.Pool(t), pg.Options{})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	sealed, err := vault.New(first)
	require.NoError(t, err)
	w := newWorld(t, store, sealed)
	var ids []domain.SecretID
	for range 20 { // more than a page
		id := w.add(w.own, mark)
		_, err := w.commands.AddSecretVersion(t.Context(), commands.Caller{}, id, mark+" 2")
		require.NoError(t, err)
		ids = append(ids, id)
	}
	second, err := first.Rotate()
	require.NoError(t, err)
	rotated, err := vault.New(second)
	require.NoError(t, err)
	w.commands = commands.New(eventstore.NewLedger(store), rotated)
	report, err := w.commands.Reseal(t.Context(), store)
	require.NoError(t, err)
	require.Equal(t, commands.Resealed{Seen: 40, Sealed: 40}, report)

	third, err := second.Destroy(first.Primary())
	require.NoError(t, err)
	alone, err := vault.New(third)
	require.NoError(t, err)
	w.commands = commands.New(eventstore.NewLedger(store), alone)
	for _, id := range ids {
		values, err := w.use(w.own, secretread.Read{}, domain.SecretRef{Secret: id, Version: 1}, domain.SecretRef{Secret: id})
		require.NoError(t, err)
		require.Equal(t, mark+" 2", values[domain.SecretRef{Secret: id}])
	}
}
