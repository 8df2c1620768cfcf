import OverlayDatapath
import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct OutboxTests {
    private static let row = StoreWrite.put(.lease, key: [1], value: [1])
    private static let vni = VNI(VNI.all.lowerBound)!

    // MARK: Turns

    @Test func effectsKeepTheirOrderAndWhatIsPrependedComesFirst() {
        var outbox = Part.outbox()
        outbox.log(.info, "a")
        outbox.store([Self.row])
        outbox.apply([.deleteNetwork(Self.vni)])
        outbox.prepend([.makeKey, .raiseBoot(1)])
        #expect(outbox.take().kinds == ["makeKey", "raiseBoot", "log", "store", "apply"])
        #expect(outbox.take().isEmpty)
    }

    @Test func whatIsDeliveredIsOfAllTurnsAndIsTakenOnce() {
        var outbox = Part.outbox()
        outbox.log(.info, "in a turn")
        outbox.deliver(.makeKey)
        #expect(outbox.takeDelivered().kinds == ["makeKey"])
        #expect(outbox.takeDelivered().isEmpty)
        #expect(outbox.take().logs == ["in a turn"])
    }

    @Test func theTimeIsThatOfTheEvent() {
        var outbox = Part.outbox()
        outbox.begin(at: .seconds(3))
        #expect(outbox.now == .seconds(3))
    }

    @Test func aMessageBeginsWithItsKind() {
        var outbox = Part.outbox()
        outbox.send(.membership, [7, 8], to: Part.node)
        guard case .send(let peer, let bytes, .datagram)? = outbox.take().first else {
            Issue.record("nothing was sent")
            return
        }
        #expect(peer == Part.node && bytes == [Node.MessageKind.membership.rawValue, 7, 8])
    }

    @Test func noOperationsAreNoEffect() {
        var outbox = Part.outbox()
        #expect(outbox.apply([]) == nil && outbox.take().isEmpty)
    }

    // MARK: Objects in flight

    @Test func anObjectIsUnfinishedUntilItsLastEffectEnds() throws {
        var outbox = Part.outbox()
        let key = ObjectKey.endpoint(Part.endpoint(1))
        let first = outbox.store([Self.row], for: [key])
        let applied = outbox.apply([.deleteNetwork(Self.vni)], for: [key])
        let second = try #require(applied)
        #expect(second > first)
        #expect(outbox.unfinished(key) == [second])
        outbox.ended(first)
        #expect(outbox.unfinished(key) == [second])
        outbox.ended(second)
        #expect(outbox.unfinished(key).isEmpty)
    }

    @Test func theUnfinishedOfSeveralObjectsAreTheirEffectsTogether() {
        var outbox = Part.outbox()
        let keys = [ObjectKey.endpoint(Part.endpoint(1)), .network(Part.engineNetwork(1)), .lease(Part.subnet, Part.address(1))]
        let ids = keys.map { outbox.store([Self.row], for: [$0]) }
        #expect(outbox.unfinished(keys[0], keys[2]) == [ids[0], ids[2]])
    }

    @Test func aRangeIsBusyWhileOneOfItsLeasesIsWritten() {
        var outbox = Part.outbox()
        let id = outbox.store([Self.row], for: [.lease(Part.subnet, Part.address(9))])
        #expect(outbox.isBusy(Part.subnet, Part.range(8, 15)))
        #expect(!outbox.isBusy(Part.subnet, Part.range(16, 31)))
        #expect(!outbox.isBusy(SubnetID(2), Part.range(8, 15)))
        outbox.ended(id)
        #expect(!outbox.isBusy(Part.subnet, Part.range(8, 15)))
    }

    // MARK: The store

    @Test func whatTheStoreRefusedIsTriedAgainAfterASecond() throws {
        var outbox = Part.outbox()
        let id = outbox.store([Self.row])
        _ = outbox.take()
        outbox.stored(id, .failed("disk full"))
        #expect(!outbox.storeIsWhole && outbox.lastStoreFailure == "disk full")
        #expect(outbox.timers[.store] == .zero + Outbox.storeRetry)
        _ = outbox.take()
        outbox.begin(at: .seconds(1))
        outbox.retryStore()
        #expect(outbox.timers[.store] == Instant.seconds(1) + Outbox.storeRetry)
        let again = try #require(outbox.take().stores.first)
        #expect(again.id != id && again.rows.contains(Self.row))
        outbox.stored(again.id, .stored)
        #expect(outbox.storeIsWhole && outbox.timers[.store] == nil && outbox.lastStoreFailure == nil)
        #expect(outbox.take().logs == ["state is written again"])
    }

    @Test func theStoreIsNotAskedAgainWhileItIsAtWork() {
        var outbox = Part.outbox()
        let first = outbox.store([Self.row])
        outbox.store([Self.row])
        outbox.stored(first, .failed("disk full"))
        _ = outbox.take()
        outbox.retryStore()
        #expect(outbox.take().stores.isEmpty)
    }

    @Test func furtherRefusalsDoNotPutTheRetryOff() {
        var outbox = Part.outbox()
        let ids = (0..<2).map { _ in outbox.store([Self.row]) }
        outbox.stored(ids[0], .failed("disk full"))
        outbox.begin(at: .milliseconds(900))
        outbox.stored(ids[1], .failed("disk full"))
        #expect(outbox.timers[.store] == .zero + Outbox.storeRetry)
    }

    @Test func aFailureOfTheStoreIsLoggedWhenItIsNew() {
        var outbox = Part.outbox()
        let ids = (0..<3).map { _ in outbox.store([Self.row]) }
        _ = outbox.take()
        outbox.stored(ids[0], .failed("disk full"))
        outbox.stored(ids[1], .failed("disk full"))
        #expect(outbox.take().logs == ["state could not be written"])
        outbox.stored(ids[2], .failed("read-only"))
        #expect(outbox.take().logs == ["state could not be written"])
    }

    @Test func aProposalThatWasRefusedHasNeverBeen() {
        var outbox = Part.outbox()
        let id = outbox.store([Self.row], isProposal: true)
        outbox.stored(id, .failed("disk full"))
        #expect(outbox.storeIsWhole && outbox.timers[.store] == nil)
    }

    // MARK: The kernel

    @Test func theLastFailureOfTheKernelIsKeptUntilItTakesSomething() {
        var outbox = Part.outbox()
        outbox.applied(.failed(index: 0, KernelFailure(operation: "link add", errno: 1, reason: "no")))
        #expect(outbox.lastKernelFailure == "link add: no")
        outbox.applied(.applied)
        #expect(outbox.lastKernelFailure == nil)
        outbox.notObserved("no netlink")
        #expect(outbox.lastKernelFailure == "no netlink")
        #expect(outbox.take().logs == ["kernel refused an operation", "kernel state could not be read"])
    }

    // MARK: The journal

    @Test func changesAreAnnouncedOnceTheyAreDurableAndPeersWereHeard() {
        var outbox = Part.outbox(count: 10)
        outbox.timers.set(.assure, at: .seconds(1))
        outbox.assure()
        #expect(outbox.timers[.assure] == nil && outbox.journal.isAssured)
        let id = outbox.store([Self.row])
        #expect(outbox.journal.announced == 10 && outbox.journal.count == 11)
        outbox.stored(id, .stored)
        #expect(outbox.journal.announced == 11)
        outbox.raiseWrites(to: 20)
        #expect(outbox.journal.count == 20)
    }
}
