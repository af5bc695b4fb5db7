package access

import (
	"maps"
	"slices"
)

// Action is what can be done through the API.
type Action string

// The actions.
const (
	CompanyAdd  Action = "company.add"
	CompanyList Action = "company.list"
	// CompanyChange sets what a company does where nothing closer says it.
	CompanyChange Action = "company.change"

	KeyAdd    Action = "key.add"
	KeyList   Action = "key.list"
	KeyRevoke Action = "key.revoke"

	EnvironmentRegister Action = "environment.register"
	EnvironmentList     Action = "environment.list"
	EnvironmentRead     Action = "environment.read"
	EnvironmentChange   Action = "environment.change"
	EnvironmentArchive  Action = "environment.archive"

	EnvironmentDelete Action = "environment.delete"
	EnvironmentProbe  Action = "environment.probe"
	// SettingsProbe tries settings that are not saved.
	SettingsProbe Action = "settings.probe"
	ProbeRead     Action = "probe.read"
	SecretAdd     Action = "secret.add"
	SecretList    Action = "secret.list"
	// SecretSee shows a secret without its values, which nobody is shown.
	SecretSee Action = "secret.see"
	// SecretRotate adds a version, SecretSwitch disables and enables one.
	SecretRotate Action = "secret.rotate"
	SecretSwitch Action = "secret.switch"
	// SecretDestroy covers versions too.
	SecretDestroy Action = "secret.destroy"
	// SecretReads lists who read it.
	SecretReads Action = "secret.reads"

	LeaseAcquire Action = "lease.acquire"
	LeaseList    Action = "lease.list"
	// LeaseRead also covers a lease's events.
	LeaseRead    Action = "lease.read"
	LeaseRelease Action = "lease.release"
	LeaseCancel  Action = "lease.cancel"
	LeaseRenew   Action = "lease.renew"
	// LeaseCleanup retries and forces the cleanup of a lease.
	LeaseCleanup Action = "lease.cleanup"
	LeakList     Action = "leak.list"
	LeakClear    Action = "leak.clear"
	// BalanceRead accounts for every runtime.
	BalanceRead Action = "balance.read"
	// RunRelease releases every lease of a run.
	RunRelease Action = "run.release"

	ExecStart Action = "exec.start"
	// ExecList lists the execs of a lease.
	ExecList Action = "exec.list"
	// ExecRead also covers an exec's output.
	ExecRead Action = "exec.read"
	ExecKill Action = "exec.kill"

	PluginRead Action = "plugin.read"
	// PluginManage installs, enables and disables: it decides which programs run beside the engine.
	PluginManage Action = "plugin.manage"

	ProjectionRead    Action = "projection.read"
	ProjectionRebuild Action = "projection.rebuild"
	// ProjectionPark covers retrying and skipping what is parked.
	ProjectionPark Action = "projection.park"

	// LogRead is the global feed.
	LogRead Action = "log.read"
	// LogShow is the log's epoch and its forks, LogAdopt takes a log that has forked as it is.
	LogShow    Action = "log.show"
	LogAdopt   Action = "log.adopt"
	WorkerRead Action = "worker.read"
	ClockRead  Action = "clock.read"
	NodeList   Action = "node.list"
	// NodeForget gives a node up, with the leases of every company on it.
	NodeForget Action = "node.forget"
	// ClockConfirm says that the database's clock is right after a jump.
	ClockConfirm Action = "clock.confirm"
	MetricsRead  Action = "metrics.read"
)

func (a Action) String() string { return string(a) }

// scope says what a company's key may do with an action.
type scope int

const (
	// scopeCompany: done to something of one company, and a company's key only reaches its own.
	scopeCompany scope = iota
	// scopeFiltered: done to what is of many companies; a company's key may, and the caller shows it only its own.
	scopeFiltered
	// scopeUnscoped: concerns every company; a company's key may not.
	scopeUnscoped
)

type row struct {
	roles []Role
	scope scope
	// noun is what looks not found to a foreign key: the resource that the route names first.
	noun string
}

var (
	everyone  = Roles()
	workers   = []Role{RoleClient, RoleOperator, RoleAdmin}
	readers   = []Role{RoleAuditor, RoleOperator, RoleAdmin}
	operators = []Role{RoleOperator, RoleAdmin}
	admins    = []Role{RoleAdmin}
)

var table = map[Action]row{
	CompanyAdd:  {admins, scopeUnscoped, "company"},
	CompanyList: {everyone, scopeFiltered, "company"},

	CompanyChange: {operators, scopeCompany, "company"},

	KeyAdd:    {admins, scopeCompany, "company"},
	KeyList:   {admins, scopeCompany, "company"},
	KeyRevoke: {admins, scopeCompany, "key"},

	EnvironmentRegister: {operators, scopeCompany, "company"},
	EnvironmentList:     {everyone, scopeCompany, "company"},
	EnvironmentRead:     {everyone, scopeCompany, "environment"},
	EnvironmentChange:   {operators, scopeCompany, "environment"},
	EnvironmentArchive:  {operators, scopeCompany, "environment"},

	EnvironmentDelete: {operators, scopeCompany, "environment"},
	EnvironmentProbe:  {operators, scopeCompany, "environment"},
	SettingsProbe:     {operators, scopeCompany, "company"},
	ProbeRead:         {everyone, scopeCompany, "probe"},
	SecretAdd:         {operators, scopeCompany, "company"},
	SecretList:        {readers, scopeCompany, "company"},
	SecretSee:         {readers, scopeCompany, "secret"},
	SecretRotate:      {operators, scopeCompany, "secret"},
	SecretSwitch:      {operators, scopeCompany, "secret"},
	SecretDestroy:     {operators, scopeCompany, "secret"},
	SecretReads:       {readers, scopeCompany, "secret"},

	LeaseAcquire: {workers, scopeCompany, "company"},
	LeaseList:    {everyone, scopeCompany, "company"},
	LeaseRead:    {everyone, scopeCompany, "lease"},
	LeaseRelease: {workers, scopeCompany, "lease"},
	LeaseCancel:  {workers, scopeCompany, "lease"},
	LeaseRenew:   {workers, scopeCompany, "lease"},
	RunRelease:   {workers, scopeCompany, "company"},

	LeaseCleanup: {operators, scopeCompany, "lease"},
	LeakList:     {readers, scopeFiltered, "leak"},
	LeakClear:    {operators, scopeCompany, "leak"},
	BalanceRead:  {readers, scopeUnscoped, ""},

	ExecStart: {workers, scopeCompany, "lease"},
	ExecList:  {everyone, scopeCompany, "lease"},
	ExecRead:  {everyone, scopeCompany, "exec"},
	ExecKill:  {workers, scopeCompany, "exec"},

	PluginRead:   {everyone, scopeFiltered, "plugin"},
	PluginManage: {admins, scopeUnscoped, "plugin"},

	ProjectionRead:    {readers, scopeUnscoped, ""},
	ProjectionRebuild: {operators, scopeUnscoped, ""},
	ProjectionPark:    {operators, scopeUnscoped, ""},

	LogRead:    {readers, scopeFiltered, ""},
	LogShow:    {readers, scopeUnscoped, ""},
	LogAdopt:   {admins, scopeUnscoped, ""},
	WorkerRead: {readers, scopeUnscoped, ""},
	ClockRead:  {readers, scopeUnscoped, ""},

	NodeList:     {readers, scopeUnscoped, ""},
	NodeForget:   {operators, scopeUnscoped, "node"},
	ClockConfirm: {operators, scopeUnscoped, ""},
	MetricsRead:  {readers, scopeUnscoped, ""},
}

// Actions lists every action, sorted.
func Actions() []Action { return slices.Sorted(maps.Keys(table)) }

// Noun is what the route of a names first, and what looks not found when it is of another company; "" for actions that no
// company owns.
func (a Action) Noun() string { return table[a].noun }

// Filtered reports whether a company's key may do a and is to be shown only what is its company's.
func (a Action) Filtered() bool { return table[a].scope == scopeFiltered }
