import OverlayDriver
import OverlayModel

/// Containers that should run, and do not: their engine started them while this daemon was not there, and gave up.
struct MissedStarts: Sendable {
    /// True if they are started from here, each of them once.
    let starts: Bool
    /// Names of these containers.
    private(set) var names: [ContainerID: String] = [:]
    /// Containers that ended and were looked at, with their names.
    private var looked: [ContainerID: String] = [:]
    private var started: Set<ContainerID> = []

    init(starts: Bool) { self.starts = starts }

    var isEmpty: Bool { names.isEmpty }

    /// The link came up: containers may have started and ended meanwhile.
    mutating func forget() { looked = [:] }

    /// Takes the containers of ours that do not run.
    ///
    /// - Returns: Those that were not looked at yet.
    mutating func learn(_ ended: [ContainerID: String]) -> [ContainerID] {
        names = names.filter { ended[$0.key] != nil }
        let new = ended.filter { looked[$0.key] == nil || names[$0.key] != nil }
        looked = ended
        return new.keys.sorted()
    }

    /// Takes how the last start of a container ended.
    ///
    /// - Returns: True if it is to be started now.
    mutating func learn(_ id: ContainerID, isMissed: Bool) -> Bool {
        guard let name = looked[id], isMissed else {
            names[id] = nil
            return false
        }
        names[id] = name
        return starts && started.insert(id).inserted
    }

    /// The container was started, or is gone.
    mutating func drop(_ id: ContainerID) {
        names[id] = nil
        looked[id] = nil
    }
}
