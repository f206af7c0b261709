package guardlock_test

import (
	"regexp"
	"strings"
	"testing"
)

// promises maps words of README.md, SECURITY.md and ARCHITECTURE.md to the
// tests that try to break what they promise. A promise is a row of the threats
// in SECURITY.md, or a sentence with one of the words of absolute.
var promises = map[string]string{
	// README.md
	"A module runs only if its author signed it":      "TestModulesThatMayNotRunAreRefusedAtLoadEachWithItsReason TestNoPolicyLiftsTheTopicsThatWereApproved",
	"can call only the host functions":                "TestImportOutsideTheGrantIsRefused TestEngineHoldsOnlyWhatIsImported",
	"What became of each record is in a hash-chained": "TestTicketResolvesOnlyWhenDurable TestNothingBehindAnUnrecordedBatchIsStored",
	"nothing of its batch is stored":                  "TestRejectedRecordFailsItsWholeBatchWithReasonAndDecision TestBatchWithARejectedRecordIsNeverEncoded",
	"Nothing is stored either if a module fails":      "TestEndlessLoopTimesOutAndFailsTheBatch TestNothingIsStoredWhenTheLogHasFailed TestTopicWithoutApprovedModuleTakesNothing",

	// SECURITY.md, what is trusted
	"a policy that takes memory or time without bound": "TestAPolicyCannotEndOrStallTheProcess TestPolicyWithoutBoundsRefusesAndEndsNothing",
	"modules get up to what was approved, not more":    "TestPolicyCanOnlyNarrow TestNoPolicyLiftsTheTopicsThatWereApproved",

	"change the trust root; it is read again at once": "TestRevokedModuleStopsOnEveryTopicWithinASecond",

	// SECURITY.md, threats
	"forged, changed or revoked module":           "TestPackageRefusals TestRevocationWaitsForNoReload TestGrantIsJudgedAgainWhenTheClockIsSet TestGrantStopsARunningGatewayWithinASecondOfItsEnd",
	"one person approves twice":                   "TestPackageRefusals",
	"somebody else reads the operators' listener": "TestOperatorsAreNotLetInFromElsewhereUnproven TestOperatorsNeedTheToken TestOperatorsWithACertificateNeedNoToken TestOperatorsAreToldNobodysName",
	"others read a secret's file":                 "TestSecretOfAPodIsReadAndNoOtherSharedOne",
	"hostile WebAssembly bytes":                   "TestScanRefuses TestCompilingIsBounded FuzzInspect",
	"endless loops, exponential calls":            "TestHostileGuestIsStoppedInTime TestExponentialCallsAreInterrupted TestInstanceIsNotUsedAgainAfterTrap",
	"a module that keeps failing takes the time":  "TestModuleThatFailsForEverybodyIsSuspendedForItsBinding TestPauseDoublesWithEachTrialThatFails",
	"records that no module survives, to have":    "TestClientWithRecordsThatKeepFailingIsSuspendedAlone TestAnyBatchThatComesThroughKeepsTheBindingForAll",
	"a module leaks what it reads":                "TestEngineHoldsOnlyWhatIsImported TestRecordThatCannotBeRoutedFailsItsBatch TestTrapTextHoldsNoNames TestModulesOfGosOwnCompilerRunAndSeeNothingOfTheWorld TestModuleCannotSpellRecordsIntoTheLog TestApproversAreToldHowManyReasonsAModuleHas",
	"a module lies about its output":              "TestInvalidOutputIsRefused TestHeaderBlocks FuzzOutput",
	"hostile frames and batches":                  "FuzzProduce FuzzDecode FuzzMessages TestDecompressionBombCostsNoMoreThanTheLimit",
	"requests that are announced and do not come": "TestFramesThatDoNotArriveLockNobodyOut TestSmallRequestsHaveAReserve TestSourceHasAShare TestSlowestOfTheHeaviestSourceGoesFirst",
	"compressed data behind the end":              "TestPartitionsNamedTwiceAreRefused TestMalformedStreamIsRefused FuzzDecompress",
	"a client claims another client id":           "TestConditionsOnClientsReachTheBinding TestEveryConditionOfABindingMustHold",
	"a client calls itself by endless names":      "TestNamesThatClientsClaimDoNotFillTheCache TestClientsCannotOutgrowTheDictionary",
	"a client goes around the gateway":            "TestNoAnswerOfAnyAPIHoldsAnUpstreamAddress",
	"other ways to write: followers":              "TestInterBrokerAndRaftKeysAreRefused TestFollowersAreRefused",
	"a client deletes topics or records":          "TestAdministrationOfBoundTopicsIsRecorded TestAdministrationOfUnboundTopicsIsRefused TestPolicyDeniesAdministration",
	"a client writes to `__consumer_offsets`":     "TestStarDoesNotMeanKafkasOwnTopics TestTopicsOfNobodyAreNotCreatedByALook",
	"password guessing":                           "TestGuessingPasswordsIsSlow TestUnknownUserCostsTheSameAndHasALastingSalt",
	"a gateway's log is left out of what":         "TestNothingIsAnsweredUnlessTheLogsAreThoseOfTheManifest TestManifestCountsOnceEnoughApproversSignedItAsItIs TestManifestThatLeavesALogUncertainIsRefused",
	"decisions lost in a crash":                   "TestKilledProcessLosesNoResolvedTicket TestCrashAnywhereKeepsWhatWasAcknowledged",
	"stored batches changed later":                "TestCompareTellsWhetherTheStoredBatchIsTheDecidedOne TestEveryChangedByteIsNoticed",
	"evidence, metrics or traces tell":            "TestNothingOfARecordIsInAnyEvidence TestACollectorIsToldTheWayOfABatchAndNoContent TestOperatorsAreToldNobodysName",
	"legal holds changed or taken away":           "TestHoldsOfSomebodyElseAreRefused TestHoldOutlivesItsFile TestHoldIsToldWhereverAnOpeningOrASegmentEnds",
	"a disk that fills, so that a log ends":       "TestBatchesAreRefusedBeforeTheDiskIsFull TestNextSegmentHasRoom TestFullDiskRefusesUntilThereIsRoom",
	"a revocation that does not reach a gateway":  "TestModulesStopWhenTheTrustRootIsGoneForTooLong TestModulesStopWhenTheTrustRootIsOld TestRevocationIsInForceOnEveryGatewayWithAnEntryFromEach",
	"what entries name by digest is changed":      "TestADamagedObjectIsNeverGivenAndWrittenAgain TestWhatIsKeptIsReadBackByItsDigest",
	"a second gateway on the same log":            "TestSecondProcessFindsTheFirstWithoutItsLock TestGatewayWhoseFilesWereTakenStops",
	"a log cut, rewritten or put back":            "TestForgedLogDoesNotFitItsCheckpoint TestLogThatWasPutBackIsFound TestGatewayOnYesterdaysLogDoesNotServe TestWitnessFindsYesterdaysLog TestWitnessSignsNoSecondHistory TestGatewayStopsOnceAWitnessSawAnotherHistory",
	"decisions edited or cut off later":           "TestRewritingWithoutTheKeyIsFound TestCuttingShortIsFound TestWhatIsMissingIsNotIntact",

	// SECURITY.md, what is not defended, and hardening
	"With `passthrough` each client keeps its own rights": "TestPassedClientsAreJudgedByTheirNames TestThePolicyIsToldWhoAsksForWhat",
	"The salts are gone, so that no leaf confirms":        "TestErasedPersonIsNowhereAndEveryProofHolds TestForgettingThatEndsAnywhere TestErasureKeepsEveryLeafAndTakesEveryValue",
	"that together keep a binding suspended":              "TestPauseDoublesWithEachTrialThatFails TestModuleThatFailsForSeveralClientsIsSuspendedForAll",
	"by the gateway only (mode 0700)":                     "TestLogIsForItsOwnerAlone",

	"a gateway goes on behind them only where": "TestOldLogGoesOnWithTags",
	"which sees each client's own name":        "TestThePolicyIsToldWhoAsksForWhat",

	// SECURITY.md, guests in processes of their own
	"With `isolation: process` in a binding, each instance": "TestGuestsApartDoWhatTheyDoHere TestWorkerHasNothingToTake TestConfinedChildCanDoNothingButCompute",
	"Keys are never in the worker's memory":                 "TestWorkerHasNothingToTake",
	"so that a worker cannot take it away":                  "TestSizeOfSharedMemoryIsForGood FuzzWorker",
	"that and a crash fail the batch":                       "TestWorkerThatDoesNotAnswerIsKilled TestKilledWorkerLosesNoRecordAndNoDecision",

	// ARCHITECTURE.md; its invariants name their tests themselves
	"A log records what became of each record":          "TestTicketResolvesOnlyWhenDurable TestNothingBehindAnUnrecordedBatchIsStored",
	"OPA, Sigstore and wazero have one room each":       "TestEachEngineHasOneRoom",
	"loading, deciding and testing policies, each in a": "TestAPolicyCannotEndOrStallTheProcess TestAnUndefinedDecisionIsUndefinedInAChildToo",
	"samples, each tested":                              "TestSamplesAreAcceptedByCheck TestComposeLetsNobodyAroundTheGateway TestUnitIsValid TestConfigurationOfTheChartIsAcceptedByCheck TestChartRendersWhatWasReviewed TestReleaseLives",
}

// noPromises are sentences with such a word that promise nothing of the code.
var noPromises = []string{
	"want to see each step",
	"names each package as it is built",
	"within three working days",
	"only the newest release gets fixes",
	"after each change of the trust root",
	"before each start",
	"by the security team only",
	"each day where the operator cannot write",
	"names the tests that try to break each sentence",
}

// absolute are words that leave no exception.
var absolute = regexp.MustCompile(`\b(?:never|within|only|each|cannot)\b`)

func TestEachPromiseHasATestThatTriesToBreakIt(t *testing.T) {
	known := declared(t)
	all := map[string]string{}
	for _, doc := range []string{"README.md", "SECURITY.md", "ARCHITECTURE.md"} {
		all[doc] = read(t, doc)
	}

	for words, tests := range promises {
		for name := range strings.FieldsSeq(tests) {
			if !known[name] {
				t.Errorf("%q is to be tested by %s, which is nowhere", words, name)
			}
		}
	}

	for doc, text := range all {
		for _, sentence := range sentences(text) {
			if absolute.MatchString(sentence) && !kept(sentence) {
				t.Errorf("%s promises %q; name the tests of it in promises", doc, sentence)
			}
		}
	}

	for _, row := range threats(t, all["SECURITY.md"]) {
		if !kept(row) {
			t.Errorf("no test is named for the threat %q", row)
		}
	}

	whole := strings.Join(strings.Fields(all["README.md"]+all["SECURITY.md"]+all["ARCHITECTURE.md"]), " ")
	for words := range promises {
		if !strings.Contains(whole, words) {
			t.Errorf("nobody promises %q any more", words)
		}
	}
}

// kept reports whether tests are named for a sentence, or none are needed.
func kept(sentence string) bool {
	for words := range promises {
		if strings.Contains(sentence, words) {
			return true
		}
	}

	for _, words := range noPromises {
		if strings.Contains(sentence, words) {
			return true
		}
	}

	return false
}

var (
	codeBlock = regexp.MustCompile("(?s)```.*?```")
	// A list, a table's row and an empty line begin another paragraph.
	paragraph = regexp.MustCompile(`\n\s*\n|\n(?:[-|#]|\d+\.)`)
	sentence  = regexp.MustCompile(`[.!?] `)
)

// sentences are those of a document, without its code.
func sentences(doc string) (all []string) {
	for _, p := range paragraph.Split(codeBlock.ReplaceAllString(doc, ""), -1) {
		p = strings.Join(strings.Fields(p), " ")
		if testName.MatchString(p) {
			continue // an invariant, which names its tests itself
		}

		if strings.HasSuffix(p, " |") {
			all = append(all, p) // a table's row
			continue
		}
		all = append(all, sentence.Split(p, -1)...)
	}
	return all
}

// threats are the rows of the table of SECURITY.md.
func threats(t *testing.T, doc string) (rows []string) {
	_, section, found := strings.Cut(doc, "\n## Threats and what stands against them")
	if !found {
		t.Fatal("SECURITY.md has no threats")
	}

	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| threat |") {
			rows = append(rows, line)
		}
	}

	if len(rows) < 15 {
		t.Fatalf("SECURITY.md has only %d threats", len(rows))
	}
	return rows
}
