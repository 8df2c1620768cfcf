import OverlayModel

/// What nodes say to one another about the catalogue.
enum CatalogueMessage: Hashable, Sendable {
    case propose(epoch: UInt32, sequence: UInt64, Command)
    /// The proposal is decided, by the entry at or before `index`.
    case outcome(sequence: UInt64, index: UInt64, CommandResult, entries: [Entry])
    /// The writer could not write.
    case failed(sequence: UInt64)
    case entries([Entry])
    case fetch(from: UInt64)
    case snapshot(Catalogue)
}

extension CatalogueMessage: Wire {
    init(from reader: inout ByteReader) throws(DecodeError) {
        switch try reader.byte() {
        case 1: self = .propose(epoch: try reader.integer(), sequence: try reader.integer(), try reader.value())
        case 2:
            self = .outcome(
                sequence: try reader.integer(), index: try reader.counter(), try reader.value(),
                entries: try reader.list(limit: 1024))
        case 3: self = .failed(sequence: try reader.integer())
        case 4: self = .entries(try reader.list(limit: 1024))
        case 5: self = .fetch(from: try reader.counter())
        case 6: self = .snapshot(try reader.value())
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
        case .outcome(let sequence, let index, let result, let entries):
            writer.byte(2)
            writer.integer(sequence)
            writer.integer(index)
            writer.value(result)
            writer.list(entries)
        case .failed(let sequence):
            writer.byte(3)
            writer.integer(sequence)
        case .entries(let entries):
            writer.byte(4)
            writer.list(entries)
        case .fetch(let index):
            writer.byte(5)
            writer.integer(index)
        case .snapshot(let catalogue):
            writer.byte(6)
            writer.value(catalogue)
        }
    }
}
