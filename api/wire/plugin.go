package wire

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// Plugin is an installed plugin: a process of its own that makes runtimes.
type Plugin struct {
	ID  uuid.UUID `json:"id"`
	Key string    `json:"key"`
	// Version is the one that makes runtimes now; leases that an earlier one made are driven by that one.
	Version string `json:"version"`
	// Status is enabled or disabled.
	Status string `json:"status"`
	// Reason is why it is disabled; null when it is not, or nobody said.
	Reason *string `json:"reason"`
	// Manifest is the current version's own: what it offers, and what its configurations look like.
	Manifest json.RawMessage `json:"manifest"`
	// Versions are all that were ever installed, the latest last.
	Versions []PluginVersion `json:"versions"`
	// Process is how its process stands on the engine that answers; null where that has none.
	Process   *PluginProcess `json:"process"`
	CreatedAt time.Time      `json:"createdAt"`
	UpdatedAt time.Time      `json:"updatedAt"`
	// Revision counts the changes of the record, and is its ETag.
	Revision int64 `json:"revision"`
	Position int64 `json:"position,omitempty"`
}

// PluginVersion is one version of a plugin.
type PluginVersion struct {
	Version string `json:"version"`
	// Digest is the SHA-256 of its files, in hexadecimal.
	Digest      string    `json:"digest"`
	Source      string    `json:"source"`
	InstalledAt time.Time `json:"installedAt"`
}

// PluginProcess is how the process of a plugin stands.
type PluginProcess struct {
	// State is stopped, starting, running, resting (between two tries) or failed (no more of them until a call asks, from
	// RetryAt on).
	State string `json:"state"`
	PID   int    `json:"pid,omitempty"`
	// Restarts counts how often it has ended unasked.
	Restarts int `json:"restarts"`
	// Health is what the running process last said of itself; null before that. A key of one company is not told.
	Health *string `json:"health"`
	// Error is why it last ended unasked, or did not start; it is kept when it runs again. A key of one company is not told.
	Error *string `json:"error"`
	// RetryAt is when it is started again; null unless it is resting or has failed.
	RetryAt *time.Time `json:"retryAt"`
}

// InstallPlugin asks to install a plugin, or another version of one.
type InstallPlugin struct {
	// Source is the plugin's directory on the server's machine: an absolute path.
	Source string `json:"source"`
	// NodeID is the machine: that of the server that is asked, or if it drives nothing, the only one that does.
	NodeID *uuid.UUID `json:"nodeId,omitempty"`
}

// The statuses of an installation.
const (
	InstallRequested = "requested"
	InstallDone      = "done"
	InstallFailed    = "failed"
)

// PluginInstall is what becomes of a wish to install.
type PluginInstall struct {
	ID uuid.UUID `json:"id"`
	// Status is requested, done or failed.
	Status string `json:"status"`
	Source string `json:"source"`
	// PluginID and Version are those of the plugin once it is done.
	PluginID *uuid.UUID `json:"pluginId"`
	Version  *string    `json:"version"`
	// Code, Message and Remediation say why it failed.
	Code        *string   `json:"code"`
	Message     *string   `json:"message"`
	Remediation *string   `json:"remediation"`
	CreatedAt   time.Time `json:"createdAt"`
	Position    int64     `json:"position,omitempty"`
}

// DisablePlugin asks to keep a plugin from working.
type DisablePlugin struct {
	Reason string `json:"reason,omitempty"`
}
