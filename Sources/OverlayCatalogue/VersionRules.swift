public import OverlayModel

/// Rules of the versions of the protocol: what the members speak, what is in use, and who may join. Owns nothing.
public enum VersionRules {
    /// Greatest version that every member speaks.
    public static func ofAll(_ catalogue: Catalogue) -> UInt16 {
        catalogue.members.values.map(\.versions.newest).min() ?? ProtocolVersions.unannounced
    }

    /// Reason why a node cannot be a member beside the others; nil if it can.
    public static func obstacle(to newcomer: Member, in catalogue: Catalogue) -> String? {
        let (name, versions, inUse) = (newcomer.name, newcomer.versions, catalogue.versionInUse)
        guard versions.newest >= inUse else {
            return
                "node \(name) speaks protocol \(versions.text), and the cluster uses \(inUse), as all of its members can: upgrade "
                + "swift-overlay on that host"
        }
        for other in catalogue.members.values.sorted(by: { $0.name < $1.name }) where other.id != newcomer.id {
            if other.versions.newest < versions.oldest {
                return
                    "node \(name) speaks protocol \(versions.text), and node \(other.name) only \(other.versions.text): upgrade "
                    + "swift-overlay on \(other.name) first"
            }
            if versions.newest < other.versions.oldest {
                return
                    "node \(name) speaks protocol \(versions.text), and node \(other.name) \(other.versions.text): upgrade swift-overlay "
                    + "on \(name)"
            }
        }
        return nil
    }

    /// Reason why a build cannot be a member of its cluster any more; nil if it can.
    public static func obstacle(to versions: ProtocolVersions, in catalogue: Catalogue) -> String? {
        guard catalogue.versionInUse > versions.newest else { return nil }
        return
            "the cluster uses protocol \(catalogue.versionInUse), and this release of swift-overlay speaks \(versions.text): start a "
            + "later release here"
    }

    /// Reason why a command may not become an entry: not every member would understand it; nil if it may.
    static func obstacle(to command: Command, in catalogue: Catalogue) -> Refusal? {
        let known = if case .raise = command { ofAll(catalogue) } else { catalogue.versionInUse }
        guard command.version > known else { return nil }
        return Refusal(
            .conflict, "not every member speaks protocol \(command.version); `swift-overlay node ls` shows which one does not")
    }

    /// Version that is in use after one is raised.
    static func raised(to version: UInt16, in catalogue: Catalogue) throws(Refusal) -> UInt16 {
        guard version > catalogue.versionInUse else { return catalogue.versionInUse }
        if let older = catalogue.members.values.filter({ $0.versions.newest < version }).min(by: { $0.name < $1.name }) {
            throw Refusal(.conflict, "node \(older.name) does not speak protocol \(version)")
        }
        return version
    }
}

extension Command {
    /// Version of the protocol that came with the command.
    var version: UInt16 {
        switch self {
        case .raise(let version): max(version, 3)
        default: ProtocolVersions.unannounced
        }
    }
}

extension CatalogueMessage {
    /// Version of the protocol that a receiver must speak.
    var version: UInt16 {
        switch self {
        case .propose(_, _, let command): command.version
        case .entries(_, let entries): entries.map(\.command.version).max() ?? ProtocolVersions.unannounced
        case .snapshot(let catalogue): catalogue.versionInUse
        case .outcome, .failed, .fetch, .term: ProtocolVersions.unannounced
        }
    }
}
