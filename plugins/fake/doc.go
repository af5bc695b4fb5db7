// Package fake is a deterministic provider that runs as a worker: every runtime of it is a line in a ledger, and what goes
// wrong is written in a script.
//
// It is the counterpart of drivers/fake, which lives in the engine's own process. This one has the wire, a process that can
// be killed and a disk between itself and the engine, so that a test can ask afterwards what is left outside:
//
//	led, err := fake.ReadLedger(fake.LedgerPath(dir))
//	led.Live() // everything that was created and not destroyed, whoever died meanwhile
//
// Three drivers come in one worker, on one ledger: fake is idempotent, fake-listable makes a runtime on each call and finds
// them by label, fake-blind does not even find them. The provider's id of a runtime is sandbox://fake/RUN/UUID.
//
// # Configuration
//
//	image        what runtimes claim to run; "ubuntu:24.04" if it is absent
//	reuseLease   whether the environment wants runtimes back that an earlier lease left; only repeated in the metadata
//	script       a list of steps, see below
//	scriptFile   the absolute path of a file that holds such a list; it is read at every call, so a test may change it
//
// The file script.json in the worker's directory, if it is there, is a script for every environment, before their own.
//
// # Scripts
//
// A step says at which call of a verb something happens, and what:
//
//	[{"verb": "acquire", "attempt": 1, "action": "crash", "at": "after"},
//	 {"verb": "release", "times": 2, "action": "fail", "code": "no_route", "outcome": "retryable"},
//	 {"verb": "exec", "action": "delay", "ms": 200}]
//
//	verb     acquire, release, keep, resume, exec, probe or list; start is the worker's own, before it says a word (script.json only)
//	attempt  which call of the verb, from 1; absent is every one. Calls are counted in the ledger, so a restart of the
//	         worker does not begin anew: for acquire, release, keep, resume and exec by runtime (an exec of the same runtime is the next
//	         attempt), for probe by environment, for list by installation, for start by ledger.
//	times    at most so many calls; absent is without limit. Counted as attempts are.
//	at       where in the call: before (the default) anything is done, after the runtime was made or taken down, or reply,
//	         when nothing but the answer is left. late, partial and swell have their own place.
//	action   delay    wait ms, or until the call is canceled; with "deaf": true to the end in any case
//	         fail     with outcome (retryable if absent), code, step, message and remediation. A probe says that the
//	                  environment does not work, unless the step has an outcome: then it could not find out. An exec does
//	                  not start, at the stage step.
//	         crash    end the process at once, with exitCode or 3; what runs in it ends with it
//	         late     do all the work, wait ms whether or not the caller is still there, and answer
//	         junk     write message on the wire, and a line end unless "raw": true; repeated up to bytes if that is set
//	         silent   never answer, not even when canceled
//	         partial  acquire only: make the runtime, then fail as fail does, but with outcome ambiguous if absent; the first
//	                  destroyFails tries to destroy it fail as well
//	         swell    acquire only: put bytes bytes of padding into the metadata, for a reply of that size
//
// Of several steps for one call each is taken in the order of the script, until one ends it.
//
// # Commands
//
// Commands are functions, not processes: echo, cat, env, pwd, true, false, exit N, sleep SECONDS (for ever if that is no
// number) and fill BYTES, which writes that many bytes. Everything else exits with 127. They write real journals.
package fake
