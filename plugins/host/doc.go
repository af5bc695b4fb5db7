// Package host runs the processes of plugins and speaks to them. It implements drivers/provider's Workers.
//
// A plugin's process, its worker, starts when it is first needed and stays:
//
//	stopped ──first call──► starting ──initialize──► running
//	                           │ ▲                      │ it died, was silent, broke the protocol
//	                  it failed│ │time is up            │
//	                           ▼ │                      │
//	                          resting ◄─────────────────┘
//	                           │ [Restart.GiveUp] failures in a row
//	                           ▼
//	                          failed ──a call, once the rest is over──► starting
//
// A rest is [Restart.First] long, twice that after each further failure, at most [Restart.Longest], 25 % more or less. A
// failure is a start that fails in any way, and the end of a worker that has not run for [Restart.Stable]: so a worker that
// dies soon after each good start rests longer and longer too. The end of one that has run for longer counts as the first.
//
// A worker gets an environment of its own and no more, a session and process group of its own, no open file of the
// engine, no new privileges, and, where the engine is root, an unprivileged user ([Options].Credential) unless it is
// installed as root. It ends with the engine: its standard input ends. One that does not heed that is ended by the next
// engine, which finds it by a record in [Options].Dir of its pid, start time and boot id.
//
// Whatever a worker does, the engine's memory is bounded: a line ends the worker at [Options].MaxLine, stderr is read
// always and kept in part, output of commands comes by credit, and requests of the worker are limited.
//
// Secrets come to a worker in the configuration of a call. What a worker prints, logs or answers as an error is searched for
// the secrets of its calls, for the environment values of its commands and for the variables of its own that are secret
// ([Installed].SecretEnv), before it goes anywhere.
package host
