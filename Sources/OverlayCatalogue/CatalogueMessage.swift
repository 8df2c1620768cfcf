import OverlayModel

/// Messages between nodes about the catalogue.
enum CatalogueMessage: Hashable, Sendable {
    case propose(epoch: UInt32, sequence: UInt64, Command)
    /// The proposal is decided by the entry at that position or an earlier one.
    case outcome(sequence: UInt64, at: CataloguePosition, CommandResult)
    /// The writer could not make the proposal durable.
    case failed(sequence: UInt64)
    /// Entries that follow one of the given term. If the receiver's last entry before them has another term, the two histories have
    /// parted.
    case entries(after: Term, [Entry])
    /// The sender has everything up to the position and asks for the entries after it.
    case fetch(after: CataloguePosition)
    case snapshot(Catalogue)
    /// Present term, for a receiver that follows an earlier one.
    case term(Term)
}

extension CatalogueMessage: Wire {
    init(from reader: inout ByteReader) throws(DecodeError) {
        switch try reader.byte() {
        case 1: self = .propose(epoch: try reader.integer(), sequence: try reader.integer(), try reader.value())
        case 2:
            self = .outcome(sequence: try reader.integer(), at: try reader.value(), try reader.value())
        case 3: self = .failed(sequence: try reader.integer())
        case 4: self = .entries(after: try reader.value(), try reader.list(limit: 1024))
        case 5: self = .fetch(after: try reader.value())
        case 6: self = .snapshot(try reader.value())
        case 7: self = .term(try reader.value())
        default: throw .invalid("catalogue message")
        }
    }

    func encode(to writer: inout ByteWriter) {
        switch self {
        case .propose(let epoch, let sequence, let command):
            writer.byte(1)
            writer.integer(epoch)
            writer.integer(sequence)
            writer.value(command)
        case .outcome(let sequence, let position, let result):
            writer.byte(2)
            writer.integer(sequence)
            writer.value(position)
            writer.value(result)
        case .failed(let sequence):
            writer.byte(3)
            writer.integer(sequence)
        case .entries(let term, let entries):
            writer.byte(4)
            writer.value(term)
            writer.list(entries)
        case .fetch(let position):
            writer.byte(5)
            writer.value(position)
        case .snapshot(let catalogue):
            writer.byte(6)
            writer.value(catalogue)
        case .term(let term):
            writer.byte(7)
            writer.value(term)
        }
    }
}
