import OverlayModel
import Testing

@testable import OverlayCatalogue

@Suite struct WriterPipelineTests {
    private static let command = Command.rotateKey([UInt8](repeating: 1, count: 32))
    private static let peer = Fixture.node(1)

    private var pipeline = WriterPipeline(index: 10)
    private var effects: [CatalogueNode.Effect] = []

    private mutating func stage(_ sequence: UInt64, from proposer: NodeID = peer) {
        pipeline.stage(Self.command, from: proposer, epoch: 1, sequence: sequence, termNumber: 1, into: &effects)
    }

    /// Token of each write that was asked for.
    private var tokens: [UInt64] {
        effects.compactMap { if case .store(let token, _) = $0 { token } else { nil } }
    }

    @Test mutating func oneWriteIsUnderWay() {
        stage(1)
        stage(2)
        stage(3)
        #expect(tokens == [1] && pipeline.lastIndex == 13)
        #expect(pipeline.isWriting(1) && !pipeline.isWriting(2))
        #expect(pipeline.takeWritten().map(\.index) == [11])
        pipeline.writeNext(into: &effects)
        #expect(tokens == [1, 2])
        #expect(pipeline.takeWritten().map(\.index) == [12, 13])
        pipeline.writeNext(into: &effects)
        #expect(tokens == [1, 2])
    }

    @Test mutating func aWriteHasALimit() {
        for sequence in 1...UInt64(WriterPipeline.entriesPerWrite + 2) { stage(sequence) }
        #expect(pipeline.takeWritten().count == 1)
        pipeline.writeNext(into: &effects)
        #expect(pipeline.takeWritten().count == WriterPipeline.entriesPerWrite)
        pipeline.writeNext(into: &effects)
        #expect(pipeline.takeWritten().count == 1)
    }

    @Test mutating func aRepeatedProposalIsKnown() {
        stage(5)
        stage(7, from: Fixture.node(2))
        // The one is being written, the other waits.
        #expect(pipeline.holds(5, from: Self.peer) && pipeline.holds(4, from: Self.peer) && !pipeline.holds(6, from: Self.peer))
        #expect(pipeline.holds(7, from: Fixture.node(2)) && !pipeline.holds(1, from: Fixture.node(3)))
        _ = pipeline.takeWritten()
        #expect(!pipeline.holds(5, from: Self.peer))
    }

    @Test mutating func whatIsTakenBackIsDeletedAndItsNumbersAreGivenAgain() {
        stage(1)
        stage(2)
        effects = []
        #expect(pipeline.abandon(at: 10, into: &effects).map(\.index) == [11, 12])
        let deletes = [UInt64(11), 12].map { StoreWrite.delete(.catalogueEntry, key: $0.wireBytes) }
        #expect(effects == [.store(token: nil, deletes)])
        // An answer that comes late is to the write that was taken back.
        #expect(!pipeline.isWriting(1))
        stage(3)
        #expect(pipeline.lastIndex == 11 && pipeline.isWriting(2))
        pipeline.reset(to: 20)
        effects = []
        #expect(pipeline.abandon(at: 20, into: &effects).isEmpty && effects.isEmpty)
    }

    @Test mutating func aPromotionIsWrittenWithTheState() {
        let id = CatalogueNode.ProposalID(value: 4)
        let entry = Entry(
            index: 11, termNumber: 2, proposer: Self.peer, epoch: 1, sequence: 1, command: .promote(after: Fixture.term))
        let state: [StoreWrite] = [.clear(.catalogueEntry), .put(.catalogueSnapshot, key: [0], value: [1])]
        pipeline.promote(id, with: entry, state: state, into: &effects)
        #expect(effects == [.store(token: 1, state + [entry.storeWrite])])
        #expect(pipeline.promotion == id && pipeline.lastIndex == 11)
        #expect(pipeline.takeWritten() == [entry])
        #expect(pipeline.takePromotion() == id && pipeline.takePromotion() == nil)
    }

    @Test func pushesFitADatagram() {
        let entries = (1...100).map {
            Entry(index: $0, termNumber: 1, proposer: Self.peer, epoch: 1, sequence: $0, command: Self.command)
        }
        let pushes = WriterPipeline.pushes(of: entries)
        #expect(pushes.count > 5 && Array(pushes.joined()) == entries)
        for push in pushes {
            let message = CatalogueMessage.entries(after: Fixture.term, push)
            #expect(message.wireBytes.count + Limits.sealBytes < Limits.datagramBytes)
        }
        #expect(WriterPipeline.pushes(of: []).isEmpty)
        // One that fits none goes alone.
        let large = Entry(
            index: 1, termNumber: 1, proposer: Self.peer, epoch: 1, sequence: 1,
            command: .endQuarantine((0..<200).map { Fixture.node($0) }))
        #expect(WriterPipeline.pushes(of: [entries[0], large, entries[1]]) == [[entries[0]], [large], [entries[1]]])
    }
}
