package sim

// Bug is a planted one: the breach of a rule by what surrounds the core, or
// by a wrapper around it. The simulation must find each.
type Bug string

// The planted bugs.
const (
	None                 Bug = ""
	EffectsFirst         Bug = "effects before they are durable"
	AcknowledgedFirst    Bug = "updates acknowledged before they are durable"
	UncertainIsWritten   Bug = "an unknown outcome taken for a success"
	UncountedBatches     Bug = "batches without a number"
	TornBatches          Bug = "a mark written without the runs it covers"
	SealFirst            Bug = "a plan sealed before its chunks are stored"
	PlannedAgain         Bug = "a sealed plan that is forgotten"
	PlanOutlivesRun      Bug = "a plan that outlives its run"
	LoadedTooEarly       Bug = "loaded before the term was raised"
	UnfencedSubscription Bug = "subscribed without a fenced write"
	ForgottenFence       Bug = "writes that are not fenced"
	UnreadableLeftOut    Bug = "records left out that cannot be read"
	LostFramework        Bug = "the framework's id is not persisted"
	StreamsMixed         Bug = "calls sent under another stream"
	CallsOutOfOrder      Bug = "calls that do not wait for one another"
	UncertainIsUnsent    Bug = "a launch without an answer taken for one that was not sent"
	KillTakenForDone     Bug = "a kill taken for the end of what it kills"
	NotKilledAgain       Bug = "a kill that is sent once"
	OffersForgotten      Bug = "offers that are never answered"
	OffersKept           Bug = "offers that are kept for a while"
	LossIsFailure        Bug = "a lost agent's word taken for the task's"
	NewAgentIsProof      Bug = "an unreachable agent taken for a restarted one"
	StateRewritten       Bug = "a late word changes a final state"
	YoungMasterBelieved  Bug = "a young master believed"
	RefusalIsStart       Bug = "a refusal to start counted as a start"
	LateStart            Bug = "work started after its start_by"
	NoWaitForStartBy     Bug = "superseded before its start_by"
	RepeatedAtOnce       Bug = "work repeated at once that may not be"
	OutcomeNotSought     Bug = "an executor's end believed without its outcome file"
	IncarnationForgotten Bug = "an incarnation that dies with its job"
	KeptForgotten        Bug = "splits done again that had succeeded"
	PinsForgotten        Bug = "a run that sees its job's edits"
	TombstoneForgotten   Bug = "a deleted job forgotten while its tasks live"
	EdgeNotPersisted     Bug = "a child's consumption is not persisted"
	ParentsMisread       Bug = "a parent's failure taken for a success"
	StaleTakenForFresh   Bug = "a parent's old success taken for a new one"
	ChildrenUnasked      Bug = "children started that nobody asked for"
	IntervalForgotten    Bug = "a data interval that begins elsewhere"
	SkipsUnrecorded      Bug = "missed instants skipped without a record"
	MarkNotPersisted     Bug = "marks that are not persisted"
	ClockForgotten       Bug = "a core time that is not persisted"
	SkewIgnored          Bug = "a clock beyond belief that is believed"
	PoolMisread          Bug = "more slots than a pool has"
	HoldForgotten        Bug = "a hold that is not persisted"
	FailureIsHistory     Bug = "runs deleted that history has not got"
)

// Planted is a bug, the rule of docs/promise.md that it breaks, and part of
// what the model says when it finds it: for the rule's sake, not by accident.
type Planted struct {
	Rule  string
	Bug   Bug
	Finds string
}

// Table has a breach of every rule.
func Table() []Planted {
	return []Planted{
		{"lost", MarkNotPersisted, "was due and nothing came of it"},
		{"doubled", LateStart, "begins after its start_by"},
		{"doubled", NoWaitForStartBy, "is launched before the start_by of"},
		{"unknown", RepeatedAtOnce, "is given up before its unknown_wait is over"},
		{"unknown", OutcomeNotSought, "doubled: "},
		{"1", EffectsFirst, "and not durable"},
		{"1", AcknowledgedFirst, "is acknowledged and not durable"},
		{"2", UncertainIsWritten, "and not durable"},
		{"2", UncountedBatches, "and becomes"},
		{"2", ForgottenFence, "and becomes"},
		{"3", TornBatches, "which is neither run nor recorded"},
		{"3", SealFirst, "of its plan is not durable"},
		{"3", PlannedAgain, "and becomes launching"},
		{"3", PlanOutlivesRun, "is left of its plan"},
		{"4", LoadedTooEarly, "and becomes"},
		{"5", UnfencedSubscription, "which was over before it began to"},
		{"6", UnreadableLeftOut, "goes back from incarnation"},
		{"7", LostFramework, "the framework's id is lost"},
		{"8", StreamsMixed, "which did not bring it"},
		{"8", CallsOutOfOrder, "a call overtakes another"},
		{"8", UncertainIsUnsent, "is recorded as never started, and it did"},
		{"9", KillTakenForDone, " begins"},
		{"9", NotKilledAgain, "after it was to be killed"},
		{"10", OffersForgotten, "and is not answered yet"},
		{"10", OffersKept, "and is not answered yet"},
		{"11", LossIsFailure, "doubled: "},
		{"11", NewAgentIsProof, "doubled: "},
		{"12", StateRewritten, "was final as"},
		{"13", YoungMasterBelieved, "on a master's word"},
		{"14", RefusalIsStart, "its executor refused to start it"},
		{"18", IncarnationForgotten, "its incarnation forgotten"},
		{"18", KeptForgotten, "is to do again what attempt"},
		{"19", PinsForgotten, "of its job, and sees version"},
		{"19", TombstoneForgotten, "is forgotten while its run"},
		{"20", EdgeNotPersisted, "its edge from"},
		{"20", ParentsMisread, "parents succeeded"},
		{"20", StaleTakenForFresh, "parents succeeded"},
		{"20", ChildrenUnasked, "and nobody asked for it"},
		{"21", IntervalForgotten, "covers"},
		{"22", SkipsUnrecorded, "which is neither run nor recorded"},
		{"23", ClockForgotten, "when the core's time was"},
		{"23", SkewIgnored, "a leader whose clock is off by"},
		{"limits", PoolMisread, "slots of pool"},
		{"limits", HoldForgotten, "the hold is acknowledged and not durable"},
		{"history", FailureIsHistory, "and history has not got it"},
	}
}
