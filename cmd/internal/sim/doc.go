// Package sim lets stories happen: engines, clients and providers under faults, in virtual time. Which story is the choice of
// a seed, and a seed always tells the same one.
//
//	engines ──questions, appends, calls──► items ──one at a time, the seed's choice──► database, providers
//	   ▲                                     │
//	   └──────────answers, events────────────┘          before each: a fault, or none
//
// Afterwards package check judges what the log, the providers' ledgers and the clients have to say. docs/adr/0023-simulation.md
// tells how it is had that a seed tells the same story again.
package sim
