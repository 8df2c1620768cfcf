import OverlayDriver
import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct MirrorPartTests {
    private static let id = Part.engineNetwork(1)
    private static let call = EngineAPICall.network(id)

    private static func connected(_ outbox: inout Outbox) -> Mirror {
        var mirror = Mirror(mirrors: true)
        mirror.connected("1.41", into: &outbox)
        _ = outbox.take()
        return mirror
    }

    // MARK: The link

    @Test func nothingIsAskedWithoutALink() {
        var mirror = Mirror(mirrors: true)
        var outbox = Part.outbox()
        #expect(mirror.ask(.networks, known: [], into: &outbox) == nil && outbox.take().isEmpty)
        mirror.compareSoon(into: &outbox)
        mirror.compareAfterRestart(of: Self.id, Part.network, isRemoved: true, into: &outbox)
        mirror.notAnswered(.networks, "gone", into: &outbox)
        #expect(outbox.take().isEmpty && outbox.timers.next == nil && mirror.report.state == "none")
    }

    @Test func aLinkThatIsLostIsLoggedOnceForEachReason() {
        var mirror = Mirror(mirrors: true)
        var outbox = Part.outbox(at: .seconds(3))
        for reason in ["refused", "refused", "no such file"] { mirror.disconnected(reason, into: &outbox) }
        #expect(outbox.take().logs.count == 2)
        guard case .away("no such file", since: .seconds(3)) = mirror.state else {
            Issue.record("the state is \(mirror.state)")
            return
        }
        #expect(mirror.report == EngineLinkReport(state: "away", apiVersion: nil, reason: "no such file"))
        mirror.connected("1.41", into: &outbox)
        #expect(mirror.isConnected && mirror.report == EngineLinkReport(state: "connected", apiVersion: "1.41", reason: nil))
    }

    @Test func whatWasAskedBeforeIsLostWithTheLink() throws {
        var outbox = Part.outbox()
        var mirror = Self.connected(&outbox)
        let id = try #require(mirror.ask(Self.call, known: [], into: &outbox))
        mirror.ask(Self.call, known: [], into: &outbox)
        mirror.notAnswered(.containers, "busy", into: &outbox)
        mirror.endList(known: [])
        #expect(mirror.isComplete)
        mirror.disconnected("restart", into: &outbox)
        #expect(!mirror.isComplete && !mirror.isConnected)
        mirror.connected("1.41", into: &outbox)
        #expect(outbox.timers[.askEngine] == nil && mirror.takeUnanswered().isEmpty)
        #expect(mirror.answered(id)?.again == false)
    }

    // MARK: Calls

    @Test func theSameCallTwiceAsksAgainWhenItIsAnswered() throws {
        var outbox = Part.outbox()
        var mirror = Self.connected(&outbox)
        let id = try #require(mirror.ask(Self.call, known: [], into: &outbox))
        for _ in 0..<2 { #expect(mirror.ask(Self.call, known: [], into: &outbox) == nil) }
        #expect(mirror.ask(.containers, known: [], into: &outbox) != nil)
        #expect(outbox.take().calls == [Self.call, .containers] && mirror.isAsking(Self.call))
        let answered = mirror.answered(id)
        let answer = try #require(answered)
        #expect(answer.call == Self.call && answer.again && !mirror.isAsking(Self.call))
        #expect(mirror.answered(id) == nil)
        let second = try #require(mirror.ask(Self.call, known: [], into: &outbox))
        #expect(mirror.answered(second)?.again == false)
    }

    @Test func aQuestionThatWasNotAnsweredIsAskedAgainLater() {
        var outbox = Part.outbox(at: .seconds(2))
        var mirror = Self.connected(&outbox)
        mirror.notAnswered(.networks, "busy", into: &outbox)
        outbox.begin(at: .milliseconds(2500))
        mirror.notAnswered(.containers, "busy", into: &outbox)
        #expect(outbox.timers[.askEngine] == Instant.seconds(2) + Mirror.retryPause && outbox.take().logs.count == 2)
        #expect(mirror.takeUnanswered() == [.networks, .containers] && mirror.takeUnanswered().isEmpty)
    }

    @Test func whatWasToBeDoneIsNoQuestion() {
        var outbox = Part.outbox()
        var mirror = Self.connected(&outbox)
        mirror.notAnswered(.createNetwork(EngineNetwork(name: "net")), "busy", into: &outbox)
        mirror.notAnswered(.removeNetwork(Self.id), "busy", into: &outbox)
        #expect(mirror.takeUnanswered().isEmpty && outbox.timers[.askEngine] == nil)
    }

    @Test func aCallHasOneOutcome() throws {
        var outbox = Part.outbox()
        var mirror = Self.connected(&outbox)
        mirror.make(Part.network, by: Part.effect(1))
        #expect(mirror.isMaking(Part.network) && !mirror.isMaking(Part.other) && Array(mirror.beingMade) == [Part.network])
        #expect(mirror.takeMade(Part.effect(1)) == Part.network && mirror.takeMade(Part.effect(1)) == nil)
        #expect(!mirror.isMaking(Part.network))
        mirror.wait(RequestID(4), for: Part.effect(2))
        #expect(mirror.takeWaiting(Part.effect(2)) == RequestID(4) && mirror.takeWaiting(Part.effect(2)) == nil)
    }

    @Test func aRemovalOfTheCommandLineIsAUsers() throws {
        var outbox = Part.outbox()
        var mirror = Self.connected(&outbox)
        let id = try #require(mirror.ask(.removeNetwork(Self.id), known: [], into: &outbox))
        #expect(mirror.isRemoving(Self.id) && !mirror.isRemoving(Part.engineNetwork(2)))
        mirror.wait(RequestID(1), for: id)
        #expect(!mirror.isRemoving(Self.id))
    }

    // MARK: Lists

    @Test func aListTakesThePlaceOfWhatWasShownBefore() {
        var outbox = Part.outbox()
        var mirror = Self.connected(&outbox)
        mirror.show(EngineNetwork(name: "old"), as: Self.id)
        mirror.setStale(Part.engineNetwork(3), "stale")
        mirror.beginList()
        mirror.show(EngineNetwork(name: "new"), as: Part.engineNetwork(2))
        #expect(!mirror.isComplete)
        mirror.endList(known: [])
        #expect(mirror.isComplete && Set(mirror.networks.keys) == [Part.engineNetwork(2)] && mirror.stale("stale") == nil)
        mirror.hide(Part.engineNetwork(2))
        #expect(mirror.networks.isEmpty)
    }

    @Test func onlyWhatWasKnownWhenAllWereAskedForCanBeGone() {
        var outbox = Part.outbox()
        var mirror = Self.connected(&outbox)
        mirror.ask(.networks, known: [Self.id], into: &outbox)
        mirror.endList(known: [Self.id, Part.engineNetwork(2)])
        #expect(mirror.isGone(Part.engineNetwork(2), isNamed: true, now: .zero) == false)
        #expect(mirror.isGone(Self.id, isNamed: true, now: .zero) == true)
        mirror.show(EngineNetwork(name: "net"), as: Self.id)
        #expect(mirror.isGone(Self.id, isNamed: true, now: .zero) == false)
    }

    @Test func aNetworkThatWasNeverNamedIsGoneOnlyAfterATime() {
        var outbox = Part.outbox()
        var mirror = Self.connected(&outbox)
        mirror.ask(.networks, known: [Self.id], into: &outbox)
        mirror.endList(known: [Self.id])
        mirror.watchMissing(into: &outbox)
        #expect(outbox.timers[.askEngine] == nil)
        #expect(mirror.isGone(Self.id, isNamed: false, now: .zero) == false)
        mirror.watchMissing(into: &outbox)
        #expect(outbox.timers[.askEngine] == .zero + Mirror.creationTime && mirror.takeUnanswered() == [.networks])
        mirror.endList(known: [Self.id])
        #expect(mirror.isGone(Self.id, isNamed: false, now: .zero + Mirror.creationTime - .milliseconds(1)) == false)
        #expect(mirror.isGone(Self.id, isNamed: false, now: .zero + Mirror.creationTime) == true)
    }

    @Test func aNetworkThatCameAfterAllIsNotMissingAnyMore() {
        var outbox = Part.outbox()
        var mirror = Self.connected(&outbox)
        mirror.ask(.networks, known: [Self.id], into: &outbox)
        #expect(mirror.isGone(Self.id, isNamed: false, now: .zero) == false)
        mirror.show(EngineNetwork(name: "net"), as: Self.id)
        mirror.endList(known: [Self.id])
        mirror.hide(Self.id)
        #expect(mirror.isGone(Self.id, isNamed: false, now: .seconds(1000)) == false)
    }

    @Test func aNetworkThatIsDroppedFreesItsName() {
        var outbox = Part.outbox()
        var mirror = Self.connected(&outbox)
        mirror.show(EngineNetwork(name: "net"), as: Self.id)
        mirror.setStale(Self.id, "net")
        mirror.setConflict("another has the name", of: Self.id)
        mirror.fail(Part.network, "net", "the name is taken", into: &outbox)
        #expect(mirror.isPaused(Part.network, at: .zero) && mirror.conflicts == [Self.id: "another has the name"])
        mirror.dropped(Self.id, now: .zero)
        #expect(mirror.networks.isEmpty && mirror.conflicts.isEmpty && mirror.stale("net") == nil)
        #expect(!mirror.isPaused(Part.network, at: .zero) && mirror.failures[Part.network] != nil)
    }

    @Test func aConflictEndsWhenItIsSettled() {
        var mirror = Mirror(mirrors: true)
        mirror.setConflict("another has the name", of: Self.id)
        mirror.setConflict(nil, of: Self.id)
        #expect(mirror.conflicts.isEmpty)
    }

    // MARK: Failures and pauses

    @Test func failuresBackOffToAMinute() {
        var outbox = Part.outbox()
        var mirror = Self.connected(&outbox)
        var pauses: [Int64] = []
        for _ in 0..<9 {
            outbox.timers.clear(.mirror)
            mirror.fail(Part.network, "net", "refused", into: &outbox)
            pauses.append((mirror.failures[Part.network]?.pause.nanoseconds ?? 0) / 1_000_000_000)
            #expect(outbox.timers[.mirror] == mirror.failures[Part.network]?.until)
        }
        #expect(pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60])
        #expect(outbox.take().logs == ["a network waits"])
        mirror.fail(Part.network, "net", "another reason", into: &outbox)
        #expect(outbox.take().logs == ["a network waits"])
        #expect(mirror.isPaused(Part.network, at: .seconds(59)) && !mirror.isPaused(Part.network, at: .seconds(60)))
        mirror.clearFailure(of: Part.network)
        mirror.fail(Part.network, "net", "refused", into: &outbox)
        #expect(mirror.failures[Part.network]?.pause == Mirror.retryPause)
    }

    @Test func failuresOfNetworksThatWaitForNothingAreForgotten() {
        var outbox = Part.outbox()
        var mirror = Self.connected(&outbox)
        for network in [Part.network, Part.other] { mirror.fail(network, "net", "refused", into: &outbox) }
        mirror.keepFailures { $0 == Part.other }
        #expect(Set(mirror.failures.keys) == [Part.other])
    }

    @Test func aNetworkIsKeptForAContainerThatOnlyStartsAnew() {
        var outbox = Part.outbox(at: .seconds(1))
        var mirror = Self.connected(&outbox)
        mirror.compareAfterRestart(of: Self.id, Part.network, isRemoved: false, into: &outbox)
        #expect(!mirror.isKept(Self.id, at: .seconds(1)) && outbox.timers[.mirror] == nil)
        mirror.fail(Part.network, "net", "has endpoints", into: &outbox)
        outbox.timers.clear(.mirror)
        mirror.compareAfterRestart(of: Self.id, Part.network, isRemoved: true, into: &outbox)
        let end = Instant.seconds(1) + Mirror.restartTime
        #expect(mirror.failures.isEmpty && outbox.timers[.mirror] == end)
        #expect(mirror.isKept(Self.id, at: end - .milliseconds(1)) && !mirror.isKept(Self.id, at: end))
    }

    @Test func aNetworkInConflictIsKeptLikeOneThatWasRemoved() {
        var outbox = Part.outbox()
        var mirror = Self.connected(&outbox)
        mirror.setConflict("another has the name", of: Self.id)
        mirror.compareAfterRestart(of: Self.id, nil, isRemoved: false, into: &outbox)
        #expect(mirror.isKept(Self.id, at: .zero))
    }

    @Test func networksAreComparedWhenTheFirstPauseEnds() {
        var outbox = Part.outbox()
        var mirror = Self.connected(&outbox)
        mirror.schedule(known: [Self.id], into: &outbox)
        #expect(outbox.timers[.mirror] == nil)
        mirror.compareAfterRestart(of: Self.id, nil, isRemoved: true, into: &outbox)
        for _ in 0..<3 { mirror.fail(Part.network, "net", "refused", into: &outbox) }
        outbox.timers.clear(.mirror)
        mirror.schedule(known: [Self.id], into: &outbox)
        #expect(outbox.timers[.mirror] == .seconds(4))
        outbox.timers.clear(.mirror)
        outbox.begin(at: .seconds(4))
        mirror.schedule(known: [Self.id], into: &outbox)
        #expect(outbox.timers[.mirror] == .zero + Mirror.restartTime)
        // The network is not here any more.
        outbox.timers.clear(.mirror)
        mirror.schedule(known: [], into: &outbox)
        #expect(outbox.timers[.mirror] == nil && !mirror.isKept(Self.id, at: .seconds(4)))
    }

    @Test func aComparisonIsSoonAndPutsNoEarlierOneOff() {
        var outbox = Part.outbox(at: .seconds(1))
        let mirror = Self.connected(&outbox)
        mirror.compareSoon(into: &outbox)
        outbox.begin(at: .seconds(2))
        mirror.compareSoon(into: &outbox)
        #expect(outbox.timers[.mirror] == Instant.seconds(1) + Mirror.delay)
    }

    // MARK: Containers and leaving

    @Test func anEndpointsContainerIsInspectedOnce() throws {
        var mirror = Mirror(mirrors: true)
        let container = try #require(ContainerID(String(repeating: "c", count: 64)))
        mirror.inspected(Part.endpoint(1), of: container)
        #expect(mirror.isInspected(Part.endpoint(1)) && mirror.isInspected(container) && !mirror.isInspected(Part.endpoint(2)))
        mirror.forget(Part.endpoint(1))
        #expect(!mirror.isInspected(Part.endpoint(1)) && !mirror.isInspected(container))
    }

    @Test func afterLeavingTheEnginesNetworksAreOfAnEarlierLife() {
        var outbox = Part.outbox()
        var mirror = Self.connected(&outbox)
        mirror.show(EngineNetwork(name: "net"), as: Self.id)
        mirror.fail(Part.network, "net", "refused", into: &outbox)
        mirror.make(Part.network, by: Part.effect(1))
        mirror.setConflict("another has the name", of: Self.id)
        mirror.compareAfterRestart(of: Self.id, nil, isRemoved: true, into: &outbox)
        mirror.forget()
        #expect(mirror.stale("net") == Self.id && mirror.networks.isEmpty && mirror.failures.isEmpty && mirror.conflicts.isEmpty)
        #expect(!mirror.isMaking(Part.network) && !mirror.isKept(Self.id, at: .zero) && mirror.isConnected)
    }
}
