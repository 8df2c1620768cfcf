import OverlayModel

/// Look-ups for questions.
extension NetworkNames {
    /// Name without the network's title behind it; nil if it does not end with that.
    func shortened(_ key: String) -> String? {
        guard !title.isEmpty, key.utf8.count > title.utf8.count + 1, key.hasSuffix(title) else { return nil }
        let name = key.utf8.dropLast(title.utf8.count)
        return name.last == UInt8(ascii: ".") ? String(name.dropLast()) : nil
    }

    /// Record of an answer, with the node whose endpoint it is of; nil for this one.
    struct Answer: Sendable {
        var record: RecordData
        var owner: NodeID?
    }

    /// Records of a name by type; nil if there is no such name.
    func answers(to name: String, _ type: RecordType) -> [Answer]? {
        if let holders = holders(of: name) {
            switch type {
            case .a: return Self.addresses(of: holders, .v4)
            case .aaaa: return Self.addresses(of: holders, .v6)
            case .any: return Self.addresses(of: holders, nil)
            default: return []
            }
        }
        guard name.utf8.first == UInt8(ascii: "_"), let (port, transport, holders) = service(name) else { return nil }
        let asked = type == .srv || type == .any
        let exposed: Set = [ExposedPort(number: port, transport: transport), .all(transport)]
        let exposing = holders.filter { !exposed.isDisjoint(with: $0.ports) }
        guard !exposing.isEmpty else { return nil }
        guard asked else { return [] }
        // Balancers take the weight for the server's own, and send nothing to one of weight 0 (RFC 2782).
        return exposing.compactMap { holder in
            fullName(of: holder).map {
                Answer(record: .service(priority: 0, weight: 1, port: port, target: $0), owner: holder.owner)
            }
        }
    }

    private static func addresses(of holders: [NamedEndpoint], _ family: IPAddress.Family?) -> [Answer] {
        var answers: [Answer] = []
        answers.reserveCapacity(holders.count)
        for holder in holders {
            for address in holder.addresses where family == nil || address.family == family {
                answers.append(Answer(record: .address(address), owner: holder.owner))
            }
        }
        return answers
    }

    /// Port and holders of a name such as `_80._tcp.web` (RFC 2782, with a number for the service).
    private func service(_ name: String) -> (UInt16, ExposedPort.Transport, [NamedEndpoint])? {
        let labels = name.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
        guard labels.count == 3, let port = UInt16(labels[0].dropFirst()), port > 0, String(port) == labels[0].dropFirst(),
            labels[1].first == "_", let transport = ExposedPort.Transport(name: labels[1].dropFirst()),
            let holders = holders(of: String(labels[2]))
        else { return nil }
        return (port, transport, holders)
    }

    /// True if only this network could have a name. If the network is called as a domain of the Internet may be (its last label has
    /// letters only, RFC 3696 §2), names that it does not know may be found there: a network `dev` must not hide `go.dev`.
    func isZone(of key: String) -> Bool {
        guard !title.isEmpty, key.utf8.count > title.utf8.count, key.hasSuffix("." + title) else { return false }
        let last = title.utf8.split(separator: UInt8(ascii: ".")).last ?? []
        return !last.allSatisfy { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) }
    }
}
