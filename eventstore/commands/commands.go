// Package commands is what can be done in Tenure, each as one append to the log.
//
// A command acts on several streams at once where the rule needs it (a lease that ends frees its slot and grants it to the
// next one; a runtime's holder and its lease agree). The rules themselves are in package domain; here is only which parts
// take part. The API and the supervisor both act through this package, and nobody else writes events.
package commands

import (
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/admission"
	"github.com/tenure-dev/tenure/domain/company"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/install"
	"github.com/tenure-dev/tenure/domain/key"
	"github.com/tenure-dev/tenure/domain/leak"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/outage"
	"github.com/tenure-dev/tenure/domain/plugin"
	"github.com/tenure-dev/tenure/domain/probe"
	"github.com/tenure-dev/tenure/domain/readmodel"
	"github.com/tenure-dev/tenure/domain/runtime"
	"github.com/tenure-dev/tenure/domain/secret"
	"github.com/tenure-dev/tenure/domain/secretread"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/vault"
)

// The kinds of streams.
var (
	Companies    = &eventstore.Kind[company.State, company.Command, company.Event]{Category: company.Category, Decider: company.Decider, Codec: company.Codec}
	Keys         = &eventstore.Kind[key.State, key.Command, key.Event]{Category: key.Category, Decider: key.Decider, Codec: key.Codec}
	Environments = &eventstore.Kind[environment.State, environment.Command, environment.Event]{
		Category: environment.Category, Decider: environment.Decider, Codec: environment.Codec,
	}
	Admissions = &eventstore.Kind[admission.State, admission.Command, admission.Event]{
		Category: admission.Category, Decider: admission.Decider, Codec: admission.Codec, Contended: true, Clone: admission.State.Clone,
	}
	Leases   = &eventstore.Kind[lease.State, lease.Command, lease.Event]{Category: lease.Category, Decider: lease.Decider, Codec: lease.Codec}
	Runtimes = &eventstore.Kind[runtime.State, runtime.Command, runtime.Event]{
		Category: runtime.Category, Decider: runtime.Decider, Codec: runtime.Codec,
	}
	ReadModels = &eventstore.Kind[readmodel.State, readmodel.Command, readmodel.Event]{
		Category: readmodel.Category, Decider: readmodel.Decider, Codec: readmodel.Codec,
	}
	Executions = &eventstore.Kind[execution.State, execution.Command, execution.Event]{
		Category: execution.Category, Decider: execution.Decider, Codec: execution.Codec,
	}
	Plugins = &eventstore.Kind[plugin.State, plugin.Command, plugin.Event]{
		Category: plugin.Category, Decider: plugin.Decider, Codec: plugin.Codec,
	}
	Installs = &eventstore.Kind[install.State, install.Command, install.Event]{
		Category: install.Category, Decider: install.Decider, Codec: install.Codec,
	}
	Probes  = &eventstore.Kind[probe.State, probe.Command, probe.Event]{Category: probe.Category, Decider: probe.Decider, Codec: probe.Codec}
	Secrets = &eventstore.Kind[secret.State, secret.Command, secret.Event]{
		Category: secret.Category, Decider: secret.Decider, Codec: secret.Codec,
	}
	Outages = &eventstore.Kind[outage.State, outage.Command, outage.Event]{
		Category: outage.Category, Decider: outage.Decider, Codec: outage.Codec,
	}
	SecretReads = &eventstore.Kind[secretread.State, secretread.Command, secretread.Event]{
		Category: secretread.Category, Decider: secretread.Decider, Codec: secretread.Codec,
	}
	Leaks = &eventstore.Kind[leak.State, leak.Command, leak.Event]{Category: leak.Category, Decider: leak.Decider, Codec: leak.Codec}
)

// Commands acts on a ledger.
type Commands struct {
	ledger *eventstore.Ledger
	vault  *vault.Vault
	// renewals is nil where they are taken for always possible.
	renewals *Renewals
	busy     busyBook
}

// New makes the commands over a ledger. What they keep beside the log is sealed in the vault.
func New(ledger *eventstore.Ledger, v *vault.Vault) *Commands {
	return &Commands{ledger: ledger, vault: v, busy: busyBook{seen: map[domain.EnvironmentID]time.Time{}}}
}

// Vault is the vault that values are sealed in.
func (c *Commands) Vault() *vault.Vault { return c.vault }

// Ledger is the ledger below.
func (c *Commands) Ledger() *eventstore.Ledger { return c.ledger }

// Caller is who gives a command.
type Caller struct {
	By eventstore.Attribution
	// Command is the identity of a client's command, so that a repeated one has one outcome; nil for none.
	Command *eventstore.Command
	// Owner is the right by which a worker claims something; nil for who needs none.
	Owner *eventstore.Ownership
}

func (c Caller) options() eventstore.Options {
	return eventstore.Options{By: c.By, Command: c.Command, Lane: eventstore.LaneControl, Owner: c.Owner}
}

// owned refuses what is of another company, in the words for what does not exist.
func owned(owner, company domain.CompanyID, noun string) error {
	if owner != company {
		return domain.NotFound(noun)
	}
	return nil
}
