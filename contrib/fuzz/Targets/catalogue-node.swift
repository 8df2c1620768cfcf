import CatalogueSamples
public import Fuzzing
import OverlayModel

@testable import OverlayCatalogue

/// A writer and a replica with the sample catalogue, and messages of members to them.
@_silgen_name("fuzzTarget") public func target() -> Target {
    let later = CatalogueSamples.endings
    let term = CatalogueSamples.catalogue.term
    var seeds: [[CatalogueMessage]] = (CatalogueSamples.entries + later).map { [.propose(epoch: 1, sequence: 500, $0.command)] }
    seeds += [
        [.entries(after: term, later)], [.entries(after: term, later.reversed()), .entries(after: term, later)],
        [1, 15, 99].map { .fetch(after: CataloguePosition(term: term, index: $0)) },
        [.snapshot(CatalogueSamples.catalogue)], [.failed(sequence: 1)],
        [.term(Term(number: 2, writer: CatalogueSamples.other))],
        [.outcome(sequence: 1, at: CataloguePosition(term: term, index: 16), .accepted)],
    ]
    // Bytes that choose the sender, and the writer or the replica as receiver.
    return Target(seeds: seeds.flatMap { messages in (0..<4).map { who in messages.flatMap { [who] + $0.wireBytes } } }, run: run)
}

private func run(_ bytes: [UInt8]) {
    let rows: StoredRows = [.catalogueSnapshot: [[0]: CatalogueSamples.catalogue.wireBytes]]
    let ids = [CatalogueSamples.writer, CatalogueSamples.other]
    var nodes = ids.compactMap { try? CatalogueNode(node: $0, epoch: 1, boot: 1, rows: rows) }
    require(nodes.count == 2, "the samples can be read")
    var now = Instant(nanoseconds: 0)
    var reader = ByteReader(bytes)
    // A question of ten bytes may be answered with a snapshot of a kilobyte.
    var steps = 0
    while steps < 8, let who = try? reader.byte(), let message = try? reader.value(CatalogueMessage.self) {
        steps += 1
        let index = Int(who & 1)
        let peer = who & 2 == 0 ? ids[1 - index] : NodeID(bits: UInt128(who))
        var effects: [CatalogueNode.Effect] = []
        try? nodes[index].receive(message.wireBytes, from: peer, now: now, into: &effects)
        if who & 4 != 0 {
            let position = CataloguePosition(term: nodes[index].heard, index: UInt64(who) << (who >> 2))
            nodes[index].learn(position, from: peer, now: now, into: &effects)
        }
        if who & 16 != 0 { _ = nodes[index].promote(now: now, into: &effects) }
        // The disk answers, and also accepts the writes that follow from its answers.
        var next = 0
        while next < effects.count {
            if case .store(let token?, _) = effects[next] {
                nodes[index].stored(token, succeeded: who & 8 == 0, now: now, into: &effects)
            }
            next += 1
        }
        now = now + .milliseconds(40)
        nodes[index].advance(to: now, into: &effects)
        for case .send(_, let bytes) in effects {
            require((try? CatalogueMessage(wire: bytes)) != nil, "what a node says can be read")
        }
    }
    for node in nodes { requireRoundTrip(node.catalogue) }
}
