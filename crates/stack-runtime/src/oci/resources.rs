//! The resources of a bundle as cgroup settings.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxResources};
use stack_cgroup::{DeviceAccess, DeviceKind, DeviceRule, Setting};

/// The range of v1's shares, and that of v2's weight, which a share is spread over.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

fn setting(controller: &str, file: &str, value: impl ToString) -> Setting {
    Setting { controller: controller.to_owned(), file: file.to_owned(), value: value.to_string() }
}

/// All settings, in an order that the kernel takes.
pub(super) fn lower(resources: &LinuxResources, v2: bool) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(memory) = resources.memory() {
        settings.extend(if v2 { memory_v2(memory) } else { memory_v1(memory) });
    }
    if let Some(cpu) = resources.cpu() {
        settings.extend(if v2 { cpu_v2(cpu) } else { cpu_v1(cpu) });
        settings.extend(cpu.cpus().iter().filter(|list| !list.is_empty()).map(|l| setting("cpuset", "cpuset.cpus", l)));
        settings.extend(cpu.mems().iter().filter(|list| !list.is_empty()).map(|l| setting("cpuset", "cpuset.mems", l)));
    }
    if let Some(limit) = resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit).filter(|limit| *limit != 0)
    {
        settings.push(setting("pids", "pids.max", limit_text(limit)));
    }
    if let Some(block) = resources.block_io() {
        settings.extend(if v2 { block_v2(block) } else { block_v1(block) });
    }
    for page in resources.hugepage_limits().iter().flatten() {
        let file = if v2 { "max" } else { "limit_in_bytes" };
        settings.push(setting("hugetlb", &format!("hugetlb.{}.{file}", page.page_size()), page.limit()));
    }
    if let Some(network) = resources.network().as_ref().filter(|_| !v2) {
        settings.extend(network.class_id().map(|id| setting("net_cls", "net_cls.classid", id)));
        for priority in network.priorities().iter().flatten() {
            let value = format!("{} {}", priority.name(), priority.priority());
            settings.push(setting("net_prio", "net_prio.ifpriomap", value));
        }
    }
    for (device, rdma) in resources.rdma().iter().flatten() {
        let text = |limit: Option<u32>| limit.map_or("max".to_owned(), |limit| limit.to_string());
        let value = format!("{device} hca_handle={} hca_object={}", text(rdma.hca_handles()), text(rdma.hca_objects()));
        settings.push(setting("rdma", "rdma.max", value));
    }
    for (file, value) in resources.unified().iter().flatten() {
        let controller = file.split('.').next().unwrap_or_default();
        settings.push(setting(controller, file, value));
    }
    settings
}

fn limit_text(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

fn memory_v1(memory: &LinuxMemory) -> Vec<Setting> {
    let of = |file: &str, value: Option<i64>| value.map(|value| setting("memory", file, value));
    // Memory may not exceed memory and swap at any moment. Without a limit on both it may be set first.
    let mut settings: Vec<Setting> = [
        of("memory.limit_in_bytes", memory.limit().filter(|limit| *limit != 0)),
        of("memory.memsw.limit_in_bytes", memory.swap().filter(|swap| *swap != 0)),
        of("memory.soft_limit_in_bytes", memory.reservation()),
        of("memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp()),
    ]
    .into_iter()
    .flatten()
    .collect();
    settings.extend(memory.swappiness().map(|value| setting("memory", "memory.swappiness", value)));
    let disable = memory.disable_oom_killer().filter(|disable| *disable);
    settings.extend(disable.map(|_| setting("memory", "memory.oom_control", 1)));
    settings
}

fn memory_v2(memory: &LinuxMemory) -> Vec<Setting> {
    let mut settings = Vec::new();
    let limit = memory.limit().filter(|limit| *limit != 0);
    // Version 2 counts swap apart from memory.
    match (memory.swap().filter(|swap| *swap != 0), limit) {
        (Some(swap), _) if swap < 0 => settings.push(setting("memory", "memory.swap.max", "max")),
        (Some(swap), Some(limit)) if limit > 0 => {
            settings.push(setting("memory", "memory.swap.max", (swap - limit).max(0)));
        }
        (None, Some(limit)) if limit < 0 => settings.push(setting("memory", "memory.swap.max", "max")),
        _ => {}
    }
    settings.extend(limit.map(|limit| setting("memory", "memory.max", limit_text(limit))));
    settings.extend(memory.reservation().map(|low| setting("memory", "memory.low", limit_text(low))));
    settings
}

fn cpu_v1(cpu: &LinuxCpu) -> Vec<Setting> {
    let number = |file: &str, value: Option<u64>| value.map(|value| setting("cpu", file, value));
    let signed = |file: &str, value: Option<i64>| value.map(|value| setting("cpu", file, value));
    [
        number("cpu.shares", cpu.shares().filter(|shares| *shares != 0)),
        number("cpu.cfs_period_us", cpu.period().filter(|period| *period != 0)),
        signed("cpu.cfs_quota_us", cpu.quota().filter(|quota| *quota != 0)),
        number("cpu.cfs_burst_us", cpu.burst()),
        number("cpu.rt_period_us", cpu.realtime_period().filter(|period| *period != 0)),
        signed("cpu.rt_runtime_us", cpu.realtime_runtime().filter(|runtime| *runtime != 0)),
        signed("cpu.idle", cpu.idle()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn cpu_v2(cpu: &LinuxCpu) -> Vec<Setting> {
    let mut settings = Vec::new();
    settings.extend(cpu.idle().map(|idle| setting("cpu", "cpu.idle", idle)));
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        let shares = shares.clamp(*SHARES.start(), *SHARES.end());
        let weight = 1 + (shares - SHARES.start()) * 9999 / (SHARES.end() - SHARES.start());
        settings.push(setting("cpu", "cpu.weight", weight));
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    if quota.is_some() || cpu.period().is_some() {
        let period = cpu.period().filter(|period| *period != 0).unwrap_or(100_000);
        settings.push(setting("cpu", "cpu.max", format!("{} {period}", limit_text(quota.unwrap_or(-1)))));
    }
    settings.extend(cpu.burst().map(|burst| setting("cpu", "cpu.max.burst", burst)));
    settings
}

fn block_v1(block: &LinuxBlockIo) -> Vec<Setting> {
    let mut settings = Vec::new();
    settings
        .extend(block.weight().filter(|weight| *weight != 0).map(|weight| setting("blkio", "blkio.weight", weight)));
    for device in block.weight_device().iter().flatten() {
        let value = device.weight().map(|weight| format!("{}:{} {weight}", device.major(), device.minor()));
        settings.extend(value.map(|value| setting("blkio", "blkio.weight_device", value)));
    }
    let throttles = [
        ("blkio.throttle.read_bps_device", block.throttle_read_bps_device()),
        ("blkio.throttle.write_bps_device", block.throttle_write_bps_device()),
        ("blkio.throttle.read_iops_device", block.throttle_read_iops_device()),
        ("blkio.throttle.write_iops_device", block.throttle_write_iops_device()),
    ];
    for (file, devices) in throttles {
        for device in devices.iter().flatten() {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            settings.push(setting("blkio", file, value));
        }
    }
    settings
}

fn block_v2(block: &LinuxBlockIo) -> Vec<Setting> {
    let mut settings = Vec::new();
    settings.extend(block.weight().filter(|weight| *weight != 0).map(|weight| setting("io", "io.bfq.weight", weight)));
    let throttles = [
        ("rbps", block.throttle_read_bps_device()),
        ("wbps", block.throttle_write_bps_device()),
        ("riops", block.throttle_read_iops_device()),
        ("wiops", block.throttle_write_iops_device()),
    ];
    for (key, devices) in throttles {
        for device in devices.iter().flatten() {
            let value = format!("{}:{} {key}={}", device.major(), device.minor(), device.rate());
            settings.push(setting("io", "io.max", value));
        }
    }
    settings
}

/// What the bundle says in its order, then what every container may use. A bundle that says nothing gives nothing else.
pub(super) fn devices(resources: &LinuxResources) -> Vec<DeviceRule> {
    let rules = resources.devices().iter().flatten().filter_map(device);
    std::iter::once(DeviceRule::NOTHING).chain(rules).chain(DeviceRule::usual()).collect()
}

fn device(rule: &LinuxDeviceCgroup) -> Option<DeviceRule> {
    let kind = match rule.typ() {
        Some(LinuxDeviceType::B) => Some(DeviceKind::Block),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(DeviceKind::Character),
        // No controller knows of pipes.
        Some(LinuxDeviceType::P) => return None,
        Some(LinuxDeviceType::A) | None => None,
    };
    let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
    let access = DeviceAccess::of_letters(rule.access().as_deref().unwrap_or_default());
    Some(DeviceRule { allow: rule.allow(), kind, major: number(rule.major()), minor: number(rule.minor()), access })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(json: serde_json::Value, v2: bool) -> Vec<String> {
        let resources: LinuxResources = serde_json::from_value(json).unwrap();
        lower(&resources, v2).into_iter().map(|one| format!("{} {}", one.file, one.value)).collect()
    }

    #[test]
    fn the_same_resources_in_both_versions() {
        let resources = serde_json::json!({
            "memory": { "limit": 1000, "swap": 3000, "reservation": 500 },
            "cpu": { "shares": 1024, "quota": 5000, "period": 10_000, "cpus": "0" },
            "pids": { "limit": -1 },
        });
        assert_eq!(
            lines(resources.clone(), false),
            [
                "memory.limit_in_bytes 1000",
                "memory.memsw.limit_in_bytes 3000",
                "memory.soft_limit_in_bytes 500",
                "cpu.shares 1024",
                "cpu.cfs_period_us 10000",
                "cpu.cfs_quota_us 5000",
                "cpuset.cpus 0",
                "pids.max max",
            ]
        );
        assert_eq!(
            lines(resources, true),
            [
                "memory.swap.max 2000",
                "memory.max 1000",
                "memory.low 500",
                "cpu.weight 39",
                "cpu.max 5000 10000",
                "cpuset.cpus 0",
                "pids.max max",
            ]
        );
    }

    #[test]
    fn devices_end_with_what_everyone_needs() {
        let resources = serde_json::json!({ "devices": [
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "b", "major": 8, "minor": 0, "access": "r" },
        ]});
        let resources: LinuxResources = serde_json::from_value(resources).unwrap();
        let all = devices(&resources);
        let first: DeviceRule = "b 8:0 r".parse().unwrap();
        assert_eq!(all[..3], [DeviceRule::NOTHING, DeviceRule::NOTHING, first]);
        assert_eq!(*all.last().unwrap(), "c 136:* rwm".parse().unwrap());
    }
}
