import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayNetlink

/// True if kernel tests run: where they can, or must.
let kernelIsUsable = Privilege.allows("kernel tests") {
    guard let capabilities = try? Capabilities.effective, capabilities.missing.isEmpty else {
        return "CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN are needed (run as root)"
    }
    let tools = ["ip", "ping", "tcpdump"].filter { shell("command -v \($0)").status != 0 }
    return tools.isEmpty ? nil : "\(tools.joined(separator: ", ")) needed to look from outside"
}

/// A host of its own: a new namespace in the place of the host's, a directory of namespaces, and a `KernelNetlink` on both. Nothing
/// is put into /run/netns, which others use and clear.
final class ScratchHost {
    let name: String
    /// Directory in which the kernel under test pins its networks.
    let directory: String
    let kernel: KernelNetlink
    /// Path of the namespace in the place of the host's.
    let path: String
    private let scratch: String
    private var containers: [String] = []

    init() throws {
        name = "swt" + hexadecimal(systemRandom(count: 4))
        scratch = "/run/\(name)"
        directory = scratch + "/netns"
        path = scratch + "/host"
        sh("mkdir -p \(directory)")
        try NetworkNamespace.create(path: path)
        kernel = try KernelNetlink(namespaceDirectory: directory, hostNamespace: path)
        sh("\(inside) ip link set lo up")
    }

    /// Prefix of a command that runs on this host.
    var inside: String { "nsenter --net=\(path)" }

    /// Opens netlink again, as a restarted daemon does.
    func restarted() throws -> KernelNetlink { try KernelNetlink(namespaceDirectory: directory, hostNamespace: path) }

    /// Adds a VTEP address to the loopback device, which is enough if no packet leaves.
    func addLoopback(_ address: String) { sh("\(inside) ip addr add \(address) dev lo") }

    /// Prefix of a command that runs in a network's namespace.
    func network(_ vni: VNI) -> String { "nsenter --net=\(directory)/\(KernelName.namespace(vni))" }

    /// Moves a container side into a namespace of its own, as the engine does, and gives it addresses.
    /// - Returns: Prefix of a command that runs in the container.
    func startContainer(_ port: Port, _ addresses: [String]) throws -> String {
        let container = "\(scratch)/container\(containers.count)"
        try NetworkNamespace.create(path: container)
        containers.append(container)
        let enter = "nsenter --net=\(container)"
        sh(
            """
            \(inside) ip link set \(port.containerLink) netns \(container) \
            && \(enter) ip link set \(port.containerLink) name eth0 && \(enter) ip link set lo up \
            && \(enter) ip link set eth0 up
            """)
        for address in addresses {
            sh("\(enter) ip addr add \(address) dev eth0 \(address.contains(":") ? "nodad" : "")")
        }
        return enter
    }

    deinit {
        for container in containers { try? NetworkNamespace.remove(path: container) }
        for name in (try? NetworkNamespace.names(in: directory)) ?? [] {
            try? NetworkNamespace.remove(path: directory + "/" + name)
        }
        try? NetworkNamespace.remove(path: path)
        shell("umount -l \(directory); rmdir \(directory) \(scratch)")
    }
}

/// One echo, with a second for the answer.
func ping(_ container: String, _ address: String) -> Bool {
    shell("\(container) ping -n -c1 -W1 \(address)").status == 0
}

/// Recording of frames, which begins when it is created.
final class Recording {
    private let file: String

    /// - Parameters:
    ///   - container: Prefix of a command that runs where the device is.
    ///   - direction: `in` for what arrives on the device, `inout` for all that passes it.
    init(_ container: String, device: String = "eth0", direction: String = "in", filter: String) {
        file = "/tmp/heard-\(device)-\(hexadecimal(systemRandom(count: 3)))"
        sh(
            """
            \(container) sh -c 'timeout 20 tcpdump -Q \(direction) -lnei \(device) "\(filter)" > \(file) 2> \(file).log & \
            echo $! > \(file).pid'
            """)
        for _ in 0..<100 where !sh("cat \(file).log").contains("listening on") { usleep(20_000) }
    }

    /// Ends the recording and returns its lines.
    func stop() -> [Substring] {
        usleep(300_000)
        shell("kill $(cat \(file).pid); sleep 0.2")
        return sh("cat \(file)").split(separator: "\n")
    }

    deinit { shell("kill $(cat \(file).pid); rm -f \(file)*") }
}

func vni(_ offset: UInt32 = 0) throws -> VNI { try #require(VNI(VNI.all.lowerBound + offset)) }
func ip(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }
func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }
func mac(_ text: String) throws -> MACAddress { try #require(MACAddress(text)) }

/// Network with this VTEP.
func base(_ local: String, _ offset: UInt32 = 0, port: UInt16 = 4789, mtu: UInt32 = 1450) throws -> NetworkState.Base {
    NetworkState.Base(vni: try vni(offset), local: try ip(local), port: port, mtu: mtu)
}

/// Port of the n-th endpoint.
func endpoint(_ number: Int) -> (name: String, port: Port) {
    let digits = String(number, radix: 16)
    let suffix = String(repeating: "0", count: 12 - digits.count) + digits
    return (
        KernelName.portPrefix + suffix,
        Port(containerLink: KernelName.containerPrefix + suffix, mac: MACAddress(bits: 0x02AA_0000_0000 | UInt64(number)))
    )
}

extension KernelOutcome {
    /// Failure; nil if all operations were applied.
    var failure: KernelFailure? {
        if case .failed(_, let failure) = self { failure } else { nil }
    }
}

func expectApplied(_ outcome: KernelOutcome, sourceLocation: SourceLocation = #_sourceLocation) {
    if case .failed(let index, let failure) = outcome {
        Issue.record("operation \(index): \(failure) (errno \(failure.errno))", sourceLocation: sourceLocation)
    }
}
