package wire

import (
	"time"

	"github.com/google/uuid"
)

// Constraint is one thing that a request for a lease needs, and whether it is so.
type Constraint struct {
	// Constraint is environment_active, provider_available, policy_supported, slot_free or queue_room.
	Constraint string `json:"constraint"`
	OK         bool   `json:"ok"`
	// Detail is for a person.
	Detail string `json:"detail"`
	// Remediation is what can be done about one that is not ok.
	Remediation string `json:"remediation,omitempty"`
	// MayPass says that waiting may mend it.
	MayPass bool `json:"mayPass"`
	// Unknown says that nobody who lives can tell; then OK is true, and it is decided later.
	Unknown bool `json:"unknown,omitempty"`
}

// Queue is who waits for a slot of an environment.
type Queue struct {
	EnvironmentID uuid.UUID `json:"environmentId"`
	// Capacity is maxLeases, Held how many slots are taken; MaxQueued how many may wait, Queued how many do.
	Capacity  int `json:"capacity"`
	Held      int `json:"held"`
	MaxQueued int `json:"maxQueued"`
	Queued    int `json:"queued"`
	// MostOvertaken is how many who came later may be granted before one who waits.
	MostOvertaken int `json:"mostOvertaken"`
	// Items are the first of who waits, in the order in which they are granted if nobody else comes.
	Items    []QueueEntry `json:"items"`
	Position int64        `json:"position"`
}

// QueueEntry is a lease that waits for a slot.
type QueueEntry struct {
	// Place is 1 for the next.
	Place          int       `json:"place"`
	LeaseID        uuid.UUID `json:"leaseId"`
	HeartbeatRunID string    `json:"heartbeatRunId"`
	AgentID        *string   `json:"agentId"`
	Priority       string    `json:"priority"`
	FairnessKey    string    `json:"fairnessKey"`
	Weight         int       `json:"weight"`
	// Rule is by which rule it goes before the lease that is asked about; in a list, before the next one: class, fairness,
	// age, bound, or only if nobody else waits.
	Rule string `json:"rule"`
	// Overtaken is how many who came later were granted before it.
	Overtaken    int       `json:"overtaken"`
	WaitingSince time.Time `json:"waitingSince"`
	// Deadline is when it gives up; null for never.
	Deadline *time.Time `json:"deadline"`
	// ExpectedWaitMs is how much longer it may wait, by how fast slots were freed lately while somebody waited; null if
	// that is not known.
	ExpectedWaitMs *int64 `json:"expectedWaitMs"`
}

// SlotHolder is a lease that has a slot.
type SlotHolder struct {
	LeaseID        uuid.UUID  `json:"leaseId"`
	HeartbeatRunID string     `json:"heartbeatRunId"`
	AgentID        *string    `json:"agentId"`
	Slot           int        `json:"slot"`
	Status         string     `json:"status"`
	Since          *time.Time `json:"since"`
	ExpiresAt      *time.Time `json:"expiresAt"`
}

// Explanation is why a lease is where it is.
type Explanation struct {
	LeaseID       uuid.UUID `json:"leaseId"`
	EnvironmentID uuid.UUID `json:"environmentId"`
	Status        string    `json:"status"`
	// Summary says it in a sentence or two.
	Summary string `json:"summary"`
	// Waiting is there while it waits for a slot, else null.
	Waiting *Waiting `json:"waiting"`
	// Grant is how it came by its slot; null if it has had none.
	Grant *GrantDecision `json:"grant"`
	// Work is what is being done for it; null if nothing is.
	Work *LeaseWork `json:"work"`
	// Constraints are all that a request for this lease needs, as they stand now, while it waits; policy_supported until it is
	// active.
	Constraints []Constraint `json:"constraints"`
	Position    int64        `json:"position"`
}

// Waiting is the place of a lease in the queue of its environment.
type Waiting struct {
	Entry QueueEntry `json:"entry"`
	// Of is how many wait.
	Of            int `json:"of"`
	MostOvertaken int `json:"mostOvertaken"`
	// Samples is how many intervals between freed slots the entry's expectedWaitMs is by.
	Samples  int   `json:"samples"`
	WaitedMs int64 `json:"waitedMs"`
	// Ahead are those before it, the next one to be granted first, at most 50 of them.
	Ahead []QueueEntry `json:"ahead"`
	// Capacity is how many slots there are, 0 for no limit; Held how many are taken, and Holders by whom, at most 100.
	Capacity int          `json:"capacity"`
	Held     int          `json:"held"`
	Holders  []SlotHolder `json:"holders"`
}

// GrantDecision is how a lease came by its slot.
type GrantDecision struct {
	Slot int `json:"slot"`
	// Rule is free if nobody waited, kept if it got a kept runtime as well, or by which it went before the next in line: class,
	// fairness, age, bound, or only. It is "" where the log does not say.
	Rule string `json:"rule"`
	// Reason says the same in words.
	Reason    string    `json:"reason"`
	GrantedAt time.Time `json:"grantedAt"`
	WaitedMs  int64     `json:"waitedMs"`
}

// LeaseWork is what is being done for a lease.
type LeaseWork struct {
	// Step is provision or release.
	Step string `json:"step"`
	// Attempt is the last attempt, 0 before the first; Running says that it is under way, until Deadline at the latest.
	Attempt  int        `json:"attempt"`
	Running  bool       `json:"running"`
	Deadline *time.Time `json:"deadline"`
	WorkerID *uuid.UUID `json:"workerId"`
	// NextTry is when the next attempt may begin; null while one is under way.
	NextTry *time.Time `json:"nextTry"`
	// LastError is why the attempt before failed.
	LastError *string `json:"lastError"`
}
