// Package protocol is the wire between the engine and a plugin's process: newline-delimited JSON-RPC 2.0 on the process's
// standard input and output, in both directions at once.
//
// The methods are those of Paperclip's published TypeScript SDK (@paperclipai/plugin-sdk 2026.916.1), so that a plugin
// written on it runs unmodified, and an extension that both sides must agree on (see [TenureOffer]).
package protocol
