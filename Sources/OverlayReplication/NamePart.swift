import OverlayModel

/// Names of an endpoint that found no room in its record: a numbered part of them, which changes by itself.
struct NamePart: Hashable, Sendable {
    var endpoint: EndpointID
    var number: UInt8
    /// Names, each once; at least one.
    var names: [String]

    init(endpoint: EndpointID, number: UInt8, names: [String]) {
        self.endpoint = endpoint
        self.number = number
        self.names = names
    }

    /// Place of the part among all parts of a log.
    static func isBefore(_ one: NamePart, _ other: NamePart) -> Bool {
        (one.endpoint, one.number) < (other.endpoint, other.number)
    }
}

extension NamePart: Wire {
    init(from reader: inout ByteReader) throws(DecodeError) {
        endpoint = try reader.value()
        number = try reader.byte()
        names = try reader.list(limit: Limits.namesPerPart)
        // A value that is signed and hashed must have a single form.
        guard number < Limits.namePartsPerEndpoint, !names.isEmpty, names.nameBytes <= Limits.nameBytesPerPart,
            EndpointNames.fitting(names).kept == names
        else { throw .invalid("part of an endpoint's names") }
    }

    func encode(to writer: inout ByteWriter) {
        writer.value(endpoint)
        writer.byte(number)
        writer.list(names)
    }
}

extension [String] {
    /// Bytes of all together.
    var nameBytes: Int { reduce(0) { $0 + $1.utf8.count } }
}
