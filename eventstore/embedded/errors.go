package embedded

import "strings"

// Code names what went wrong, for programs.
type Code string

// The codes of Error.
const (
	CodeBadOptions      Code = "bad_options"
	CodeNotInstalled    Code = "postgres_not_installed"
	CodeWrongVersion    Code = "postgres_version_mismatch"
	CodeNoAccount       Code = "postgres_no_account"
	CodeDataDirBusy     Code = "data_dir_in_use"
	CodeDataDirAccess   Code = "data_dir_not_accessible"
	CodeDataDirOwner    Code = "data_dir_foreign_owner"
	CodeDataDirContent  Code = "data_dir_unexpected_content"
	CodeNoSpace         Code = "data_dir_no_space"
	CodeSocketDir       Code = "socket_dir_unusable"
	CodeForeignServer   Code = "foreign_postgres"
	CodeInitFailed      Code = "postgres_init_failed"
	CodeStartFailed     Code = "postgres_start_failed"
	CodeStopIncomplete  Code = "postgres_stop_incomplete"
	CodePasswordMissing Code = "postgres_password_missing"
)

// Error is every failure that a person has to act on. Its text is one line: what happened, why, and what to do.
type Error struct {
	Code        Code
	What        string
	Cause       error
	Remediation string
}

// Error is the one line.
func (e *Error) Error() string {
	text := e.What
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	if e.Remediation != "" {
		text += "; " + e.Remediation
	}
	return strings.Join(strings.Fields(text), " ")
}

// Unwrap gives the cause to errors.Is and errors.AsType.
func (e *Error) Unwrap() error { return e.Cause }
